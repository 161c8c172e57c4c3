//! The figures as CSV.

use super::statistics::Summary;
use crate::error::{Error, Result};

/// One row per activation.
pub fn activations(summary: &Summary) -> Result<String> {
    let header = [
        "activation",
        "form",
        "k",
        "channels",
        "unusual_slopes",
        "intercepts",
        "slope_distance",
        "slope_distance_deviation",
        "deviation_between_photos",
        "attention",
        "attention_deviation",
        "static",
    ];
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let rows = summary.activations.iter().map(|a| {
        let (apart, attention) = (a.apart.unzip(), a.attention.unzip());
        [
            a.name.clone(),
            a.form.to_string(),
            a.k.to_string(),
            a.channels.to_string(),
            number(a.unusual_slopes),
            number(a.intercepts),
            number(apart.0),
            number(apart.1),
            number(a.deviation),
            number(attention.0),
            number(attention.1),
            a.is_static.to_string(),
        ]
    });
    csv(header, rows)
}

/// One row per parameter of an activation.
pub fn coefficients(summary: &Summary) -> Result<String> {
    let header = [
        "activation",
        "coefficient",
        "mean",
        "deviation",
        "deviation_between_photos",
        "least",
        "most",
    ];
    let rows = summary.activations.iter().flat_map(|a| {
        a.parameters.iter().map(|p| {
            let [mean, deviation, between, least, most] =
                [p.mean, p.deviation, p.between_photos, p.least, p.most].map(|n| n.to_string());
            [a.name.clone(), p.name.clone(), mean, deviation, between, least, most]
        })
    });
    csv(header, rows)
}

fn csv<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::format(format!("cannot write CSV: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(|e| failed(&e))?;
    for row in rows {
        writer.write_record(row).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}
