//! The downloader against a server on this machine.
#![cfg(feature = "download")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use datasets::download::{Archive, DownloadError, Fetched, fetch};
use datasets::{Cifar, CifarVariant, Dataset, Split};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tempfile::TempDir;

const FOLDER: &str = "cifar-100-binary";

/// An entry of an archive: type, raw path, content or link target.
type Entry<'a> = (EntryType, &'a str, Vec<u8>);

fn records(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| {
            [(i % 20) as u8, (i % 100) as u8]
                .into_iter()
                .chain((0..3072).map(move |at| (i + at) as u8))
        })
        .collect()
}

fn good_entries() -> Vec<Entry<'static>> {
    vec![
        (EntryType::Directory, "cifar-100-binary/", vec![]),
        (
            EntryType::Regular,
            "cifar-100-binary/fine_label_names.txt",
            b"apple\n".to_vec(),
        ),
        (EntryType::Regular, "cifar-100-binary/test.bin", records(3)),
        (EntryType::Regular, "cifar-100-binary/train.bin", records(5)),
    ]
}

fn packed(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        // Raw, as the crate's own setters refuse what a hostile archive may hold.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(if *kind == EntryType::Regular {
            content.len() as u64
        } else {
            0
        });
        if *kind == EntryType::Symlink {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        }
        header.set_cksum();
        builder
            .append(
                &header,
                if *kind == EntryType::Regular {
                    content
                } else {
                    &[][..]
                },
            )
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// Answers one request with `status` and `body`, announcing `length` bytes; the address to ask.
fn serve(status: &'static str, body: Vec<u8>, length: usize) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/archive.tar.gz", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap());
        for line in request.lines() {
            if line.unwrap().is_empty() {
                break;
            }
        }
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        // The client may hang up early; that is its right.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body));
    });
    url
}

fn archive(url: String, body: &[u8]) -> Archive {
    let sha256 = Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Archive {
        variant: CifarVariant::Cifar100,
        url,
        sha256,
        folder: FOLDER.to_owned(),
    }
}

fn get(archive: &Archive, to: &Path) -> Result<Fetched, DownloadError> {
    fetch(archive, to, &mut |_| ControlFlow::Continue(()))
}

/// Serves an archive of these entries, and fetches it into a fresh folder.
fn get_entries(entries: &[Entry]) -> (TempDir, Result<Fetched, DownloadError>) {
    let body = packed(entries);
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(serve("200 OK", body.clone(), body.len()), &body);
    let result = get(&archive, &dir.path().join("data"));
    (dir, result)
}

fn assert_nothing_left(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn fetch_unpacks_a_whole_archive_once() {
    let body = packed(&good_entries());
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("new/data");
    let archive = archive(serve("200 OK", body.clone(), body.len()), &body);
    let mut seen = Vec::new();
    let fetched = fetch(&archive, &to, &mut |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    });
    assert_eq!(fetched.unwrap(), Fetched::Downloaded(to.join(FOLDER)));
    assert!(
        seen.iter()
            .all(|progress| progress.total_bytes == Some(body.len() as u64))
    );
    assert_eq!(seen.last().unwrap().done_bytes, body.len() as u64);

    let data = Cifar::open(&to, Split::Train, None).unwrap();
    assert_eq!(
        (data.variant(), data.num_images()),
        (CifarVariant::Cifar100, Some(5))
    );
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);

    // The server has gone; the data is there.
    assert_eq!(
        get(&archive, &to).unwrap(),
        Fetched::AlreadyThere(to.join(FOLDER))
    );
}

#[test]
fn fetch_leaves_what_is_in_the_way_alone() {
    let body = packed(&good_entries());
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(FOLDER)).unwrap();
    fs::write(dir.path().join(FOLDER).join("test.bin"), records(3)).unwrap();
    let error = get(&archive("http://127.0.0.1:1/".into(), &body), dir.path()).unwrap_err();
    assert!(matches!(error, DownloadError::Occupied { .. }));
    assert!(
        error
            .to_string()
            .contains("found something that is not a whole CIFAR-100"),
        "{error}"
    );
    assert_eq!(
        fs::read(dir.path().join(FOLDER).join("test.bin")).unwrap(),
        records(3)
    );
}

#[test]
fn fetch_refuses_altered_and_truncated_bodies() {
    let body = packed(&good_entries());
    let mut altered = body.clone();
    altered[body.len() / 2] ^= 1;
    let dir = tempfile::tempdir().unwrap();

    let error = get(
        &archive(serve("200 OK", altered, body.len()), &body),
        dir.path(),
    )
    .unwrap_err();
    assert!(
        matches!(&error, DownloadError::Checksum { bytes, .. } if *bytes == body.len() as u64),
        "{error}"
    );
    assert_nothing_left(dir.path());

    let half = body[..body.len() / 2].to_vec();
    let error = get(
        &archive(serve("200 OK", half.clone(), half.len()), &body),
        dir.path(),
    )
    .unwrap_err();
    assert!(matches!(error, DownloadError::Checksum { .. }), "{error}");
    let error = get(
        &archive(serve("200 OK", half, body.len()), &body),
        dir.path(),
    )
    .unwrap_err();
    assert!(matches!(error, DownloadError::Network { .. }), "{error}");
    assert_nothing_left(dir.path());
}

#[test]
fn fetch_says_what_the_network_said() {
    let dir = tempfile::tempdir().unwrap();
    let error = get(&archive(serve("404 Not Found", vec![], 0), b""), dir.path()).unwrap_err();
    assert!(
        matches!(error, DownloadError::Network { .. }) && error.to_string().contains("404"),
        "{error}"
    );

    // A port that was just given back: nobody listens there.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = get(
        &archive(format!("http://127.0.0.1:{port}/a"), b""),
        dir.path(),
    )
    .unwrap_err();
    assert!(
        matches!(error, DownloadError::Network { .. })
            && error.to_string().contains("check the network"),
        "{error}"
    );
    assert_nothing_left(dir.path());
}

#[test]
fn fetch_refuses_entries_outside_the_folder() {
    let file = |path| (EntryType::Regular, path, b"evil".to_vec());
    for (entry, says) in [
        (file("../evil"), "outside"),
        (file("cifar-100-binary/../../evil"), "outside"),
        (file("/polyphase-evil"), "outside"),
        (file("elsewhere/evil"), "outside"),
        (file("cifar-100-binary/deeper/evil"), "outside"),
        (
            (EntryType::Directory, "cifar-100-binary/deeper", vec![]),
            "a folder",
        ),
        (
            (
                EntryType::Symlink,
                "cifar-100-binary/test.bin",
                b"/etc/passwd".to_vec(),
            ),
            "a link",
        ),
        (
            (EntryType::Fifo, "cifar-100-binary/fifo", vec![]),
            "a special file",
        ),
    ] {
        let mut entries = good_entries();
        entries.insert(1, entry.clone());
        let (dir, result) = get_entries(&entries);
        let error = result.unwrap_err();
        assert!(
            matches!(&error, DownloadError::Entry { kind, .. } if kind.contains(says)),
            "{}: {error}",
            entry.1
        );
        assert_nothing_left(dir.path());
    }
    assert!(!Path::new("/polyphase-evil").exists());
}

#[test]
fn fetch_refuses_archives_of_something_else() {
    let mut entries = good_entries();
    entries.pop();
    let (dir, result) = get_entries(&entries);
    let error = result.unwrap_err();
    assert!(matches!(error, DownloadError::Content { .. }), "{error}");
    assert_nothing_left(dir.path());

    let body = b"<html>not an archive</html>".to_vec();
    let archive = archive(serve("200 OK", body.clone(), body.len()), &body);
    let error = get(&archive, &dir.path().join("data")).unwrap_err();
    assert!(matches!(error, DownloadError::Unpack { .. }), "{error}");
    assert_nothing_left(dir.path());
}

#[test]
fn fetch_stops_when_asked_to() {
    let body = packed(&good_entries());
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(serve("200 OK", body.clone(), body.len()), &body);
    let error = fetch(&archive, dir.path(), &mut |progress| {
        if progress.done_bytes > 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap_err();
    assert!(matches!(error, DownloadError::Interrupted { .. }));
    assert_nothing_left(dir.path());
}

#[test]
fn official_archives_are_those_of_the_authors() {
    for (variant, file) in [
        (CifarVariant::Cifar10, "cifar-10-binary.tar.gz"),
        (CifarVariant::Cifar100, "cifar-100-binary.tar.gz"),
    ] {
        let archive = Archive::official(variant);
        assert_eq!(
            archive.url,
            format!("https://www.cs.toronto.edu/~kriz/{file}")
        );
        assert_eq!(archive.sha256.len(), 64);
    }
}
