//! The models that are loaded, and their replacement while requests run.

mod folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use dyrelu::vision::Classifier;
use dyrelu::{Model, Session};

use crate::failure::{Failure, Reason};
use folder::Found;

/// One version of a model, ready to run. A request keeps it through its [`Arc`], so that it finishes on the
/// version that it started with.
pub struct Version {
    /// The name of the model.
    pub name: String,
    /// The number of the version.
    pub number: u64,
    /// The network.
    pub model: Arc<Model>,
    /// What prepares photos and names classes, or why the network does not classify photos.
    pub classifier: Result<Classifier, String>,
    /// Sessions that no worker uses at the moment: at most one per worker.
    sessions: Mutex<Vec<Session>>,
}

impl Version {
    /// Opens the network in a file.
    pub fn open(name: &str, number: u64, path: &Path) -> Result<Self, Failure> {
        let started = Instant::now();
        let model = Model::open(path)?;
        let classifier = Classifier::new(Session::new(&model)).map_err(|e| e.to_string());
        let milliseconds = started.elapsed().as_millis();
        tracing::info!(model = name, version = number, path = %path.display(), milliseconds, "loaded");
        let sessions = Mutex::default();
        Ok(Version { name: name.to_string(), number, model, classifier, sessions })
    }

    /// Returns a session, used before or new.
    pub fn take_session(&self) -> Session {
        locked(&self.sessions).pop().unwrap_or_else(|| Session::new(&self.model))
    }

    /// Keeps a session for the next run.
    pub fn keep_session(&self, session: Session) {
        locked(&self.sessions).push(session);
    }
}

/// Whether a version can run.
#[derive(Clone)]
enum State {
    Ready(Arc<Version>),
    /// Why it cannot.
    Unavailable(String),
}

/// A version in the repository's index.
pub struct IndexEntry {
    /// The name of the model.
    pub name: String,
    /// The number of the version.
    pub version: u64,
    /// Whether it is loaded.
    pub ready: bool,
    /// Why it is not loaded.
    pub reason: String,
}

/// The models of a folder.
pub struct Models {
    folder: PathBuf,
    states: RwLock<BTreeMap<String, BTreeMap<u64, State>>>,
    /// Held while a model is loaded or unloaded, so that the last request decides.
    changing: Mutex<()>,
}

impl Models {
    /// Creates a repository over a folder, in which no model is loaded.
    pub fn new(folder: PathBuf) -> Self {
        Models { folder, states: RwLock::default(), changing: Mutex::default() }
    }

    /// Loads all models of the folder. One that cannot be loaded does not stop the others: the index
    /// states why.
    pub fn load_all(&self) -> Result<(), Failure> {
        let _changing = locked(&self.changing);
        for (name, versions) in folder::scan(&self.folder)? {
            let states = versions.iter().map(|(&number, found)| {
                let state = match open(&name, number, found) {
                    Ok(version) => State::Ready(version),
                    Err(e) => {
                        tracing::error!(model = name, version = number, error = %e, "not loaded");
                        State::Unavailable(e.message)
                    }
                };
                (number, state)
            });
            let states = states.collect();
            self.write().insert(name, states);
        }
        Ok(())
    }

    /// Loads all versions of a model, or loads them again. If one cannot be opened, what was loaded before
    /// stays.
    pub fn load(&self, name: &str) -> Result<(), Failure> {
        let _changing = locked(&self.changing);
        let Some(versions) = folder::scan(&self.folder)?.remove(name) else {
            let message = format!("the folder of models has no model {name:?}");
            return Err(Failure::new(Reason::NotFound, message));
        };
        let states = versions
            .iter()
            .map(|(&number, found)| Ok((number, State::Ready(open(name, number, found)?))));
        let states = states.collect::<Result<BTreeMap<_, _>, Failure>>()?;
        self.write().insert(name.to_string(), states);
        Ok(())
    }

    /// Unloads all versions of a model. Requests that have been accepted still run.
    pub fn unload(&self, name: &str) -> Result<(), Failure> {
        let _changing = locked(&self.changing);
        let mut states = self.write();
        let versions = states.get_mut(name).ok_or_else(|| unknown(name))?;
        for state in versions.values_mut() {
            *state = State::Unavailable("unloaded".to_string());
        }
        tracing::info!(model = name, "unloaded");
        Ok(())
    }

    /// Returns a version of a model, the newest that is loaded if `version` is `None` or empty.
    pub fn get(&self, name: &str, version: Option<&str>) -> Result<Arc<Version>, Failure> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        let versions = states.get(name).ok_or_else(|| unknown(name))?;
        let Some(version) = version.filter(|version| !version.is_empty()) else {
            let newest = versions.values().rev().find_map(|state| match state {
                State::Ready(version) => Some(version.clone()),
                State::Unavailable(_) => None,
            });
            return newest.ok_or_else(|| {
                let reason = versions.values().next_back().map_or("", |state| match state {
                    State::Unavailable(reason) => reason,
                    State::Ready(_) => "",
                });
                Failure::new(
                    Reason::NotFound,
                    format!("the model {name:?} is not loaded: {reason}"),
                )
            });
        };
        let state = version.parse().ok().and_then(|number: u64| versions.get(&number));
        match state {
            Some(State::Ready(version)) => Ok(version.clone()),
            Some(State::Unavailable(reason)) => {
                let message = format!("version {version} of {name:?} is not loaded: {reason}");
                Err(Failure::new(Reason::NotFound, message))
            }
            None => {
                let message = format!("the model {name:?} has no version {version:?}");
                Err(Failure::new(Reason::NotFound, message))
            }
        }
    }

    /// Returns the numbers of the versions of a model that are loaded.
    pub fn versions(&self, name: &str) -> Vec<u64> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        let versions = states.get(name).into_iter().flatten();
        let ready = versions.filter(|(_, state)| matches!(state, State::Ready(_)));
        ready.map(|(&number, _)| number).collect()
    }

    /// Returns all versions that are in the folder or loaded.
    pub fn index(&self) -> Result<Vec<IndexEntry>, Failure> {
        let mut entries = BTreeMap::new();
        for (name, versions) in folder::scan(&self.folder)? {
            for number in versions.into_keys() {
                entries.insert((name.clone(), number), (false, "not loaded".to_string()));
            }
        }
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        for (name, versions) in states.iter() {
            for (&number, state) in versions {
                let state = match state {
                    State::Ready(_) => (true, String::new()),
                    State::Unavailable(reason) => (false, reason.clone()),
                };
                entries.insert((name.clone(), number), state);
            }
        }
        let entry =
            |((name, version), (ready, reason))| IndexEntry { name, version, ready, reason };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, BTreeMap<u64, State>>> {
        self.states.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(name: &str, number: u64, found: &Found) -> Result<Arc<Version>, Failure> {
    Ok(Arc::new(Version::open(name, number, found.only()?)?))
}

fn unknown(name: &str) -> Failure {
    Failure::new(Reason::NotFound, format!("there is no model {name:?}"))
}

/// Locks a mutex whose content is valid after any panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
