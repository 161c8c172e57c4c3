//! The values of options.

/// The number of threads to run on: `option` if it is given, else as many as this process may use.
pub fn threads(option: Option<usize>) -> usize {
    option.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Parses the value of an option that must be at least 1.
pub fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(e) => Err(e.to_string()),
    }
}

/// Parses the value of an option that must be finite and at least 0.
pub fn not_negative(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        Ok(_) => Err("must be at least 0, and finite".into()),
        Err(e) => Err(e.to_string()),
    }
}
