//! Reads and writes .npy files of f32.

use std::fs::File;
use std::io::{BufReader, BufWriter};

use anyhow::{Context, Result};
use npyz::WriterBuilder;

pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Array {
    pub fn read(path: &str) -> Result<Array> {
        let file = File::open(path).with_context(|| path.to_owned())?;
        let array = npyz::NpyFile::new(BufReader::new(file)).with_context(|| path.to_owned())?;
        let shape = array.shape().iter().map(|&size| size as usize).collect();
        let values = array.into_vec().with_context(|| path.to_owned())?;
        Ok(Array { shape, values })
    }

    pub fn write(&self, path: &str) -> Result<()> {
        let file = BufWriter::new(File::create(path).with_context(|| path.to_owned())?);
        let shape: Vec<u64> = self.shape.iter().map(|&size| size as u64).collect();
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        writer.extend(self.values.iter().copied())?;
        Ok(writer.finish()?)
    }
}
