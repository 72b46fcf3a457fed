//! The Unix socket that the API is served on.

use anyhow::{Context as _, bail};
use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// Its owner and group.
const MODE: u32 = 0o660;

/// The socket's file, which goes when this is dropped.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // What stays is replaced by the next daemon.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens at `path`. A socket that a dead daemon left is replaced; one that is served is not.
pub async fn bind(path: &Path) -> anyhow::Result<(UnixListener, Socket)> {
    let shown = path.display();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    if UnixStream::connect(path).await.is_ok() {
        bail!("another daemon serves {shown} already; end it, or set `api` to another path");
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        bail!("api {shown} is there and is no socket; remove it, or set `api` to another path");
    }
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("cannot replace {shown}"))?;
    }
    // Made under another name and moved, so that nobody meets it with wider permissions.
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).with_context(|| format!("cannot make the socket {shown}"))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(MODE))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot make the socket {shown}"))?;
    Ok((listener, Socket(path.to_owned())))
}
