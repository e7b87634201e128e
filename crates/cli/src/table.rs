//! Aligned columns.

use std::fmt;

use crate::console::{FAINT, NAME, one_line};

/// A table that is as wide as what it holds. The first column is what the row is about.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    right: bool,
    width: usize,
}

impl Table {
    /// Titles of the columns; one that starts with `>` is aligned to the right, as numbers are.
    pub(crate) fn new(titles: &[&'static str]) -> Self {
        let columns = titles.iter().map(|title| {
            let bare = title.strip_prefix('>');
            let title = bare.unwrap_or(title);
            Column { title, right: bare.is_some(), width: title.len() }
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row: one cell for each column.
    pub(crate) fn row<const CELLS: usize>(&mut self, cells: [String; CELLS]) {
        let cells = cells.map(|cell| one_line(&cell));
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            column.width = column.width.max(cell.chars().count());
        }
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn write_row<'c>(
        &self,
        f: &mut fmt::Formatter<'_>,
        cells: impl ExactSizeIterator<Item = &'c str>,
        title: bool,
    ) -> fmt::Result {
        let last = cells.len().saturating_sub(1);
        for (index, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let style = match (title, index) {
                (true, _) => FAINT,
                (false, 0) => NAME,
                (false, _) => anstyle::Style::new(),
            };
            let padding = column.width.saturating_sub(cell.chars().count());
            let (before, after) = if column.right { (padding, 0) } else { (0, padding) };
            // No blanks at the end of a line.
            let after = if index == last { 0 } else { after };
            write!(f, "  {:before$}{style}{cell}{style:#}{:after$}", "", "")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_row(f, self.columns.iter().map(|column| column.title), true)?;
        self.rows.iter().try_for_each(|row| self.write_row(f, row.iter().map(String::as_str), false))
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", ">N", "REST"]);
        table.row(["a".into(), "10".into(), "x".into()]);
        table.row(["längst".into(), "5".into(), "y\n".into()]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "  NAME     N  REST\n  a       10  x\n  längst   5  y\u{fffd}\n");
    }
}
