//! A note: a small file of the data directory that is replaced as a whole, never changed in place.
//!
//! For the little that somebody outside the engine must know after a restart. What is written is
//! durable when [`Note::write`] comes back; a crash leaves the old note or the new one. It is JSON,
//! so that a person can read it. One that cannot be read is an error, never an empty note.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a note of this kind is kept.
#[derive(Debug)]
pub struct Note<T> {
    path: PathBuf,
    kind: PhantomData<fn(T) -> T>,
}

impl<T: Serialize + DeserializeOwned> Note<T> {
    /// The note with this name in a folder of the data directory; neither has to be there.
    pub fn of(data: &Path, folder: &str, name: &str) -> Note<T> {
        Note { path: data.join(folder).join(format!("{name}.json")), kind: PhantomData }
    }

    /// What it says; nothing if nobody has written it.
    pub fn read(&self) -> io::Result<Option<T>> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, durably.
    pub fn write(&self, said: &T) -> io::Result<()> {
        let folder = self.path.parent().expect("it lies in a folder of the data directory");
        let above = folder.parent().expect("the data directory is above");
        fs::create_dir_all(folder)?;
        File::open(above)?.sync_all()?;
        let draft = self.path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(said)?)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        File::open(folder)?.sync_all()
    }

    /// Where it is, for a message.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
