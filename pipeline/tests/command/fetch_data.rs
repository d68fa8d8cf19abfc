//! `polyphase fetch-data`.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

#[test]
fn failed_downloads_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("data");
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mirror = format!("http://127.0.0.1:{port}/mirror/");
    let args = ["fetch-data", "--to", text(&to), "--mirror", &mirror];
    let url = format!("{mirror}cifar-10-binary.tar.gz");
    assert_fails(
        &args,
        3,
        &[&format!("download of {url}: "), "check the network"],
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn other_archives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(b"not the archive", 15);
    let args = [
        "fetch-data",
        "--only",
        "cifar100",
        "--to",
        text(dir.path()),
        "--mirror",
        &url,
    ];
    let output = polyphase(&args);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("found SHA-256") && stderr(&output).contains("over 15 bytes"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn interrupted_downloads_are_tidied_up() {
    let dir = tempfile::tempdir().unwrap();
    // A server that promises more than it sends, slowly.
    let url = serve(&[7; 40], 1_000_000);
    let mut child = Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args(["fetch-data", "--to", text(dir.path()), "--mirror", &url])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while fs::read_dir(dir.path()).unwrap().count() == 0 {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(100));
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("error: ") && line.ends_with("interrupted")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Answers one request with a body of `length` bytes, of which it sends `bytes` one by one.
fn serve(bytes: &'static [u8], length: usize) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap());
        for line in request.lines() {
            if line.unwrap().is_empty() {
                break;
            }
        }
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        let mut send = |part: &[u8]| {
            // The client may hang up early.
            let _ = stream.write_all(part).and_then(|()| stream.flush());
        };
        send(head.as_bytes());
        for byte in bytes {
            send(&[*byte]);
            thread::sleep(Duration::from_millis(if length > bytes.len() {
                100
            } else {
                0
            }));
        }
    });
    format!("http://{address}")
}
