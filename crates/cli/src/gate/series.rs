//! Stored figures: JSON series and CSV histories. Whatever is no figure is an error that says where.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A stored series of one side.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Series {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) unit: String,
    /// The seed of the order in which both sides were measured, pair by pair; none if they were not.
    #[serde(default)]
    pub(super) interleaved: Option<u64>,
    pub(super) values: Vec<f64>,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) time: String,
    pub(super) value: f64,
}

/// Why a file is no series.
#[derive(Debug)]
pub(super) enum SeriesError {
    Io(std::io::Error),
    Json(serde_json::Error),
    /// No values.
    Empty,
    /// A value of a JSON series, from 0.
    Value {
        index: usize,
        fault: Fault,
    },
    /// A line of a CSV file, from 1.
    Line {
        line: usize,
        fault: Fault,
    },
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    NoComma,
    NotANumber(String),
    NotFinite(f64),
    Negative(f64),
    /// Earlier than the line before: the newest comes last.
    TimeGoesBack {
        before: String,
        time: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoComma => f.write_str("no comma: `time,value` is expected"),
            Self::NotANumber(text) => write!(f, "`{text}` is no number"),
            Self::NotFinite(value) => write!(f, "{value} is no figure"),
            Self::Negative(value) => write!(f, "{value} is negative"),
            Self::TimeGoesBack { before, time } => {
                write!(f, "`{time}` after `{before}`: the newest run comes last")
            }
        }
    }
}

impl fmt::Display for SeriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Json(error) => write!(f, "{error}"),
            Self::Empty => f.write_str("no values"),
            Self::Value { index, fault } => write!(f, "value {index}: {fault}"),
            Self::Line { line, fault } => write!(f, "line {line}: {fault}"),
        }
    }
}

impl std::error::Error for SeriesError {}

/// Larger files are not what they are taken for.
const MOST_BYTES: u64 = 64 << 20;

fn text(path: &Path) -> Result<String, SeriesError> {
    let length = std::fs::metadata(path).map_err(SeriesError::Io)?.len();
    if length > MOST_BYTES {
        let message = format!("{length} bytes: at most {MOST_BYTES} are read");
        return Err(SeriesError::Io(std::io::Error::other(message)));
    }
    let bytes = std::fs::read(path).map_err(SeriesError::Io)?;
    // What is no text fails at the line where it is.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a JSON series: an object with `values`, or the values alone.
pub(super) fn series(path: &Path) -> Result<Series, SeriesError> {
    parse_series(&text(path)?)
}

pub(super) fn parse_series(text: &str) -> Result<Series, SeriesError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Values(Vec<f64>),
        Series(Series),
    }
    let series = match serde_json::from_str(text).map_err(SeriesError::Json)? {
        Any::Series(series) => series,
        Any::Values(values) => Series { name: String::new(), unit: String::new(), interleaved: None, values },
    };
    if series.values.is_empty() {
        return Err(SeriesError::Empty);
    }
    for (index, value) in series.values.iter().enumerate() {
        figure(*value).map_err(|fault| SeriesError::Value { index, fault })?;
    }
    Ok(series)
}

/// Reads a CSV history: `time,value` on each line, the newest run last; a first line that is no run names the columns.
pub(super) fn history(path: &Path) -> Result<Vec<Run>, SeriesError> {
    parse_history(&text(path)?)
}

pub(super) fn parse_history(text: &str) -> Result<Vec<Run>, SeriesError> {
    let mut runs: Vec<Run> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        match run(content, runs.last()) {
            Ok(run) => runs.push(run),
            // Only names of columns are no number and no mistake.
            Err(Fault::NotANumber(name)) if line == 1 && name.starts_with(|c: char| c.is_alphabetic()) => {}
            Err(fault) => return Err(SeriesError::Line { line, fault }),
        }
    }
    if runs.is_empty() { Err(SeriesError::Empty) } else { Ok(runs) }
}

fn run(content: &str, before: Option<&Run>) -> Result<Run, Fault> {
    let (time, value) = content.rsplit_once(',').ok_or(Fault::NoComma)?;
    let (time, value) = (time.trim().trim_matches('"'), value.trim().trim_matches('"'));
    let value: f64 = value.parse().map_err(|_| Fault::NotANumber(value.to_owned()))?;
    let value = figure(value)?;
    // Dates as one writes them sort as text; numbers sort as numbers.
    if let Some(before) = before {
        let goes_back = match (before.time.parse::<f64>(), time.parse::<f64>()) {
            (Ok(before), Ok(time)) => time < before,
            _ => before.time.len() == time.len() && time < before.time.as_str(),
        };
        if goes_back {
            return Err(Fault::TimeGoesBack { before: before.time.clone(), time: time.to_owned() });
        }
    }
    Ok(Run { time: time.to_owned(), value })
}

fn figure(value: f64) -> Result<f64, Fault> {
    if !value.is_finite() {
        Err(Fault::NotFinite(value))
    } else if value < 0.0 {
        Err(Fault::Negative(value))
    } else {
        Ok(value)
    }
}

/// Figures as the gate takes them, and what one of a figure is: the median is some 2⁴⁰, so that rounding is far below any margin; what is 2²⁴ times the median is the most there is.
pub(super) fn fixed<'v>(values: impl Iterator<Item = &'v f64> + Clone) -> (Vec<u64>, f64) {
    let mut sorted: Vec<f64> = values.clone().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().filter(|median| *median > 0.0).unwrap_or(1.0);
    let scale = (40.0 - median.log2().floor()).exp2();
    // Subnormal medians have no scale.
    let scale = if scale.is_finite() { scale } else { f64::MAX };
    (values.map(|value| saturated(value * scale)).collect(), scale)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and values are not negative"
)]
fn saturated(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::{Fault, SeriesError, fixed, parse_history, parse_series};

    #[test]
    fn junk_is_an_error_that_says_in_which_line() {
        let fault = |text: &str| match parse_history(text) {
            Err(SeriesError::Line { line, fault }) => Some((line, fault)),
            _ => None,
        };
        let header = "time,value\n2026-01-01,10\n";
        assert_eq!(fault(&format!("{header}2026-01-02")), Some((3, Fault::NoComma)));
        assert_eq!(fault(&format!("{header}\n2026-01-02,x")), Some((4, Fault::NotANumber("x".to_owned()))));
        assert!(matches!(fault(&format!("{header}2026-01-02,NaN")), Some((3, Fault::NotFinite(_)))));
        assert!(matches!(fault(&format!("{header}2026-01-02,1e999")), Some((3, Fault::NotFinite(_)))));
        assert_eq!(fault(&format!("{header}2026-01-02,-3")), Some((3, Fault::Negative(-3.0))));
        assert!(matches!(fault(&format!("{header}2025-12-31,3")), Some((3, Fault::TimeGoesBack { .. }))));
        assert!(matches!(fault("9,1\n10,1\n9,1"), Some((3, Fault::TimeGoesBack { .. }))));
        // The first line may name columns, but not be junk.
        assert_eq!(fault("1,2x"), Some((1, Fault::NotANumber("2x".to_owned()))));
        for empty in ["", "\n\n", "time,value\n"] {
            assert!(matches!(parse_history(empty), Err(SeriesError::Empty)));
        }
        let runs = parse_history("\u{feff}time,value\r\n\"a, b\",\"1.5\"\r\n").unwrap();
        assert_eq!((runs[0].time.as_str(), runs[0].value), ("a, b", 1.5));
    }

    #[test]
    fn a_series_is_an_object_or_an_array_of_figures() {
        assert_eq!(parse_series("[1, 2.5]").unwrap().values, [1.0, 2.5]);
        let series = parse_series(r#"{"name":"a","interleaved":7,"values":[3],"more":{}}"#).unwrap();
        assert_eq!((series.name.as_str(), series.interleaved, series.values[0]), ("a", Some(7), 3.0));
        assert!(matches!(parse_series("[]"), Err(SeriesError::Empty)));
        assert!(matches!(parse_series("[1, -2]"), Err(SeriesError::Value { index: 1, .. })));
        for junk in ["", "{", "[1, NaN]", "[1, null]", "7", "{\"values\":\"x\"}"] {
            assert!(matches!(parse_series(junk), Err(SeriesError::Json(_))), "{junk}");
        }
    }

    #[test]
    fn figures_of_any_size_keep_their_ratios() {
        for unit in [1e-280, 1e-9, 1.0, 1e18, 1e300] {
            let values = [unit, 1.01 * unit, unit, 1e6 * unit, 0.0];
            let (fixed, _) = fixed(values.iter());
            assert!(fixed[0] >= 1 << 39 && fixed[3] > fixed[0] << 19 && fixed[4] == 0, "{unit}: {fixed:?}");
            let ppm = u128::from(fixed[1] - fixed[0]) * 1_000_000 / u128::from(fixed[0]);
            assert!((9_999..=10_000).contains(&ppm), "{unit}: {ppm}");
        }
        assert_eq!(fixed([0.0, 0.0, 5.0].iter()).0[..2], [0, 0]);
        let (huge, _) = fixed([1.0, 1.0, f64::MAX].iter());
        assert_eq!(huge[2], u64::MAX);
    }
}
