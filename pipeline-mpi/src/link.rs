//! Bytes between ranks. Whoever waits sleeps, and no single message reaches 2^31 elements.
//!
//! MPI's own waits keep a core busy. A rank that waits for another one, or for a broadcast that is under way, looks from time to
//! time, and sleeps in between. Only for the bytes of a message that has arrived does MPI itself wait.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use mpi::Rank;
use mpi::point_to_point::{Message, Status};
use mpi::request::{Request, Scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, MatchedReceiveVec, Root, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of one MPI message.
const PIECE: usize = 32 << 20;
/// Pauses between two looks at what is waited for.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);
/// The longest pause while bytes are under way: MPI moves them when it is looked at.
const LONGEST_UNDER_WAY: Duration = Duration::from_micros(100);
/// Words between two ranks.
const WORDS: i32 = 1;
/// Bytes between two ranks: their number, then pieces.
const BYTES: i32 = 2;
/// Bytes between two ranks that both know how many there are.
const SWAPPED: i32 = 3;

/// The communicator of all ranks, and what is said over it.
pub struct Link(SimpleCommunicator);

impl Link {
    /// Messages over `comm`.
    pub fn new(comm: SimpleCommunicator) -> Self {
        Self(comm)
    }

    /// Rank of this process, from 0.
    pub fn rank(&self) -> Rank {
        self.0.rank()
    }

    /// Number of ranks.
    pub fn size(&self) -> Rank {
        self.0.size()
    }

    /// Ends all ranks.
    pub fn abort(&self, code: u8) -> ! {
        self.0.abort(i32::from(code))
    }

    /// Says something to a rank.
    pub fn say<T: Serialize>(&self, to: Rank, words: &T) {
        let text = serde_json::to_vec(words).expect("words and numbers are JSON");
        self.send_piece(to, WORDS, &text);
    }

    /// Waits for what a rank says.
    ///
    /// # Errors
    /// For words of another program.
    pub fn hear<T: DeserializeOwned>(&self, from: Rank) -> io::Result<T> {
        parsed(&self.receive_piece(from, WORDS))
    }

    /// Waits for what any rank says.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub fn hear_any<T: DeserializeOwned>(&self) -> io::Result<(Rank, T)> {
        let any = self.0.any_process();
        let (message, status) = waited(LONGEST, || any.immediate_matched_probe_with_tag(WORDS));
        let from = status.source_rank();
        Ok((from, parsed(&received(message, status))?))
    }

    /// Sends bytes, any number of them.
    pub fn send(&self, to: Rank, bytes: &[u8]) {
        self.send_piece(to, BYTES, &(bytes.len() as u64).to_le_bytes());
        for piece in bytes.chunks(PIECE) {
            self.send_piece(to, BYTES, piece);
        }
    }

    /// The bytes that a rank sends, to be read piece by piece.
    pub fn incoming(&self, from: Rank) -> Incoming<'_> {
        let length = self.receive_piece(from, BYTES);
        Incoming {
            link: self,
            from,
            left: number(&length),
            piece: io::Cursor::new(Vec::new()),
        }
    }

    /// All bytes that a rank sends.
    ///
    /// # Errors
    /// When they are cut off.
    pub fn receive(&self, from: Rank) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.incoming(from).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes for all other ranks, in the order in which they are written. The others read them at the same time.
    pub fn broadcast(&self) -> Broadcast<'_> {
        Broadcast {
            link: self,
            buffer: Vec::new(),
        }
    }

    /// The bytes that rank `root` broadcasts.
    pub fn listen(&self, root: Rank) -> Listening<'_> {
        Listening {
            link: self,
            root,
            piece: io::Cursor::new(Vec::new()),
            is_over: false,
        }
    }

    fn send_piece(&self, to: Rank, tag: i32, bytes: &[u8]) {
        let to = self.0.process_at_rank(to);
        mpi::request::scope(|scope| {
            finished(to.immediate_send_with_tag(scope, bytes, tag), LONGEST);
        });
    }

    fn receive_piece(&self, from: Rank, tag: i32) -> Vec<u8> {
        let from = self.0.process_at_rank(from);
        let (message, status) = waited(LONGEST, || from.immediate_matched_probe_with_tag(tag));
        received(message, status)
    }

    /// Brings the bytes of rank `root` to all others, each piece into that of the same length which they have for it. All pieces
    /// are under way at the same time.
    pub fn share<'a>(&self, root: Rank, pieces: impl IntoIterator<Item = &'a mut [u8]>) {
        let root = self.0.process_at_rank(root);
        mpi::request::scope(|scope| {
            // MPI takes the address of nothing for a word of its own.
            let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
            let start = |piece| root.immediate_broadcast_into(scope, piece);
            let requests: Vec<_> = pieces.map(start).collect();
            for request in requests {
                finished(request, LONGEST_UNDER_WAY);
            }
        });
    }

    /// Sends bytes to ranks, and receives others into the room that is for them. Everything is under way at the same time; what
    /// goes from one rank to another keeps its order, and has the same lengths there.
    pub fn swap<'a>(
        &self,
        to: impl IntoIterator<Item = (Rank, &'a [u8])>,
        from: impl IntoIterator<Item = (Rank, &'a mut [u8])>,
    ) {
        mpi::request::scope(|scope| {
            let mut receives = Vec::new();
            for (rank, room) in from {
                let rank = self.0.process_at_rank(rank);
                let pieces = room.chunks_mut(PIECE);
                receives.extend(
                    pieces.map(|p| rank.immediate_receive_into_with_tag(scope, p, SWAPPED)),
                );
            }
            let mut sends = Vec::new();
            for (rank, bytes) in to {
                let rank = self.0.process_at_rank(rank);
                let pieces = bytes.chunks(PIECE);
                sends.extend(pieces.map(|p| rank.immediate_send_with_tag(scope, p, SWAPPED)));
            }
            for request in receives {
                finished(request, LONGEST_UNDER_WAY);
            }
            for request in sends {
                finished(request, LONGEST_UNDER_WAY);
            }
        });
    }

    /// The number that rank `root` says to all.
    pub fn agree(&self, root: Rank, number: u64) -> u64 {
        let mut number = number.to_le_bytes();
        let root = self.0.process_at_rank(root);
        mpi::request::scope(|scope| {
            finished(
                root.immediate_broadcast_into(scope, &mut number[..]),
                LONGEST,
            );
        });
        u64::from_le_bytes(number)
    }
}

/// Bytes of another rank.
pub struct Incoming<'a> {
    link: &'a Link,
    from: Rank,
    left: u64,
    piece: io::Cursor<Vec<u8>>,
}

impl Incoming<'_> {
    /// Takes what was not read.
    ///
    /// # Errors
    /// As for reading.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if is_read(&self.piece) && self.left > 0 {
            let piece = self.link.receive_piece(self.from, BYTES);
            let left = self.left.checked_sub(piece.len() as u64);
            self.left = left.ok_or_else(|| invalid("a piece is longer than what was announced"))?;
            self.piece = io::Cursor::new(piece);
        }
        self.piece.read(to)
    }
}

/// Bytes for all other ranks. They are with them when this is [finished](Self::finish).
pub struct Broadcast<'a> {
    link: &'a Link,
    buffer: Vec<u8>,
}

impl Broadcast<'_> {
    /// Ends the broadcast.
    pub fn finish(mut self) {
        if !self.buffer.is_empty() {
            self.send();
        }
        // Nothing is the end.
        self.send();
    }

    fn send(&mut self) {
        let root = self.link.rank();
        self.link.agree(root, self.buffer.len() as u64);
        self.link.share(root, self.buffer.chunks_mut(PIECE));
        self.buffer.clear();
    }
}

impl Write for Broadcast<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend(&bytes[..taken]);
        if self.buffer.len() == PIECE {
            self.send();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that another rank broadcasts.
pub struct Listening<'a> {
    link: &'a Link,
    root: Rank,
    piece: io::Cursor<Vec<u8>>,
    is_over: bool,
}

impl Listening<'_> {
    /// Takes what was not read: all ranks take part in a broadcast to its end.
    ///
    /// # Errors
    /// As for reading.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for Listening<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if is_read(&self.piece) && !self.is_over {
            let length = self.link.agree(self.root, 0);
            if length > PIECE as u64 {
                return Err(invalid("a piece is longer than any rank sends"));
            }
            self.is_over = length == 0;
            // The memory of the last piece serves the next one.
            let piece = self.piece.get_mut();
            piece.resize(length as usize, 0);
            self.link.share(self.root, piece.chunks_mut(PIECE));
            self.piece.set_position(0);
        }
        self.piece.read(to)
    }
}

fn is_read(piece: &io::Cursor<Vec<u8>>) -> bool {
    piece.position() == piece.get_ref().len() as u64
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text).map_err(|_| {
        invalid("words of another rank are not understood; all ranks must run the same program")
    })
}

fn received(message: Message, status: Status) -> Vec<u8> {
    (message, status).matched_receive_vec().0
}

/// What `look` finds in the end; `longest` is the longest pause between two looks.
fn waited<T>(longest: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut pause = SHORTEST;
    loop {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(pause);
        pause = (2 * pause).min(longest);
    }
}

/// Waits until a request is done; `longest` as for [`waited`].
fn finished<'a, D: ?Sized, S: Scope<'a>>(request: Request<'a, D, S>, longest: Duration) {
    let mut request = Some(request);
    waited(longest, || match request.take()?.test() {
        Ok(_) => Some(()),
        Err(unfinished) => {
            request = Some(unfinished);
            None
        }
    });
}
