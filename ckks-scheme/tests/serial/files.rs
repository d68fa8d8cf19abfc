//! Files and folders.

use crate::fixture::{Fixture, METADATA, PASSPHRASE, kernel, secure_literal};
use ckks_scheme::serial::{
    CiphertextReader, CiphertextWriter, PUBLIC_KEY_FILE, SerialError, ServerKeys, open_regular,
};
use ckks_scheme::{EvaluationKeys, Parameters, PublicKey, SecretKey};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

fn source(error: SerialError) -> SerialError {
    let SerialError::File { source, .. } = error else {
        panic!("{error}");
    };
    *source
}

#[test]
fn files_come_back() {
    let (f, dir) = (Fixture::new(), tempdir().unwrap());
    let path = dir.path().join("file");
    let secure = Parameters::from_literal(&secure_literal(), kernel(), None).unwrap();
    secure.save(&path).unwrap();
    let back = Parameters::load(&path, kernel(), None).unwrap();
    assert_eq!(back.fingerprint(), secure.fingerprint());
    f.public.save(&path).unwrap();
    assert_eq!(
        PublicKey::load(&f.params, &path).unwrap().id(),
        f.secret.id()
    );
    f.secret.save(&path).unwrap();
    let back = SecretKey::load(&f.params, None, &path).unwrap();
    assert_eq!(back.id(), f.secret.id());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    f.secret
        .save_protected(PASSPHRASE, &mut rng, &path)
        .unwrap();
    let back = SecretKey::load(&f.params, Some(PASSPHRASE), &path).unwrap();
    assert_eq!(back.id(), f.secret.id());
    let error = SecretKey::load(&f.params, None, &path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{path:?}: is protected by a passphrase, and none was given")
    );
}

#[test]
fn keys_are_loaded_in_parallel_as_from_a_stream() {
    let (f, dir) = (Fixture::new(), tempdir().unwrap());
    let path = dir.path().join("keys");
    f.keys.save(&f.params, &path).unwrap();
    let stream = fs::read(&path).unwrap();
    let held = f.params.pool().in_use_bytes();
    let keys = EvaluationKeys::load(&f.params, &path).unwrap();
    assert_eq!(Fixture::stream(|out| keys.write_to(&f.params, out)), stream);
    // Any bit of any part.
    for at in (0..stream.len()).step_by(17) {
        let mut damaged = stream.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        EvaluationKeys::load(&f.params, &path).unwrap_err();
    }
    let expected = stream.len() as u64;
    for found in [expected - 1, expected + 1] {
        let mut other = stream.clone();
        other.resize(found as usize, 0);
        fs::write(&path, &other).unwrap();
        let error = EvaluationKeys::load(&f.params, &path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{path:?}: has {found} bytes, expected {expected}")
        );
    }
    drop(keys);
    assert_eq!(f.params.pool().in_use_bytes(), held);
}

#[test]
fn sequence_file_comes_back_and_ends_there() {
    let (f, dir) = (Fixture::new(), tempdir().unwrap());
    let path = dir.path().join("batch");
    let id = f.secret.id();
    let create = || CiphertextWriter::create(&path, &f.params, id, METADATA, 1).unwrap();
    let mut writer = create();
    writer.push(&f.pair).unwrap();
    assert!(!path.exists());
    writer.commit().unwrap();
    let open = || CiphertextReader::open(&path, &f.params, id);
    assert_eq!(open().unwrap().filter_map(Result::ok).count(), 1);
    // What is not finished leaves the old file.
    let error = create().commit().unwrap_err();
    assert!(matches!(error, SerialError::Value { .. }), "{error}");
    assert_eq!(open().unwrap().filter_map(Result::ok).count(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let mut longer = fs::read(&path).unwrap();
    longer.push(0);
    fs::write(&path, longer).unwrap();
    let error = open().unwrap().last().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{path:?}: goes on after its end")
    );
}

#[cfg(unix)]
#[test]
fn secret_keys_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (f, dir) = (Fixture::new(), tempdir().unwrap());
    let path = dir.path().join("secret.key");
    // The mode of an old file does not matter.
    fs::write(&path, b"old").unwrap();
    f.secret.save(&path).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    f.secret
        .save_protected(PASSPHRASE, &mut rng, &path)
        .unwrap();
    assert_eq!(mode(), 0o600);
    for exposed in [0o640, 0o604, 0o644, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let error = SecretKey::load(&f.params, Some(PASSPHRASE), &path).unwrap_err();
        assert!(matches!(source(error), SerialError::Exposed { mode } if mode == exposed));
    }
}

fn server_keys(f: Fixture) -> ServerKeys {
    ServerKeys {
        public: f.public,
        evaluation: f.keys,
    }
}

#[test]
fn server_folder_comes_back_and_holds_no_secret() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("keys/eval");
    let f = Fixture::new();
    let (params, id) = (f.params.clone(), f.secret.id());
    server_keys(f).write_dir(&folder).unwrap();
    let keys = ServerKeys::open_dir_for(&params, &folder).unwrap();
    assert_eq!((keys.public.id(), keys.evaluation.id()), (id, id));
    // This set is insecure: a folder alone does not lead to it.
    let error = ServerKeys::open_dir(&folder, kernel(), None).unwrap_err();
    assert!(matches!(source(error), SerialError::Param(_)));

    let secret = Fixture::new().secret;
    for name in ["secret.key", "harmless.txt"] {
        let path = folder.join(name);
        secret.save(&path).unwrap();
        let error = ServerKeys::open_dir_for(&params, &folder).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{path:?}: is a secret key: it must not lie where a server reads")
        );
        server_keys(Fixture::new()).write_dir(&folder).unwrap_err();
        fs::remove_file(path).unwrap();
    }
    ServerKeys::open_dir_for(&params, &folder).unwrap();
}

#[test]
fn folder_with_keys_of_two_clients_is_refused() {
    let dir = tempdir().unwrap();
    let f = Fixture::new();
    let params = f.params.clone();
    server_keys(f).write_dir(dir.path()).unwrap();
    let other = Fixture::with_seed(5);
    other
        .public
        .save(&dir.path().join(PUBLIC_KEY_FILE))
        .unwrap();
    let error = ServerKeys::open_dir_for(&params, dir.path()).unwrap_err();
    assert!(matches!(source(error), SerialError::Key { .. }));
    let mixed = ServerKeys {
        public: other.public,
        evaluation: Fixture::new().keys,
    };
    let error = mixed.write_dir(dir.path()).unwrap_err();
    assert!(matches!(source(error), SerialError::Key { .. }));
}

#[cfg(unix)]
#[test]
fn devices_pipes_and_folders_are_refused_at_once() {
    let dir = tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [Path::new("/dev/zero"), dir.path(), &pipe] {
        let error = open_regular(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{path:?}: this is a folder, pipe or device, expected a regular file")
        );
    }
    let error = open_regular(&dir.path().join("none\u{1b}[2J")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("none\\u{1b}[2J"), "{text}");
}
