//! One file per command, named as the command is called, and a folder beside it for its parts.

pub mod bench;
pub mod classify;
pub mod convert;
pub mod evaluate;
pub mod explain;
pub mod inspect;
pub mod keypoints;
pub mod models;
pub mod run;
pub mod shells;
pub mod verify;
