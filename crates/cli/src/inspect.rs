//! `ebpf-blocks inspect`: what object files hold, and what they need.

mod cost;
mod lines;
mod survey;

use std::io;

use ebpf_loader::{ObjectFile, Options, SectionTable};
use ebpf_vm::VmConfig;

use crate::args::{self, Inspect};
use crate::console::{Console, NAME, Status, one_line};
use crate::source::{self, file_name};
use crate::table::Table;
use crate::{MAPS, PROGRAMS};

use cost::Costs;
use survey::{Need, Survey};

/// As large as the tool takes them.
type File<'data> = ObjectFile<'data, PROGRAMS, MAPS>;

/// Inspects every object; a bad one does not keep the others from being shown.
pub(crate) fn inspect(arguments: &Inspect, console: &mut Console<'_>) -> io::Result<Status> {
    let mut worst = Status::Done;
    let table = match arguments.table {
        args::Table::Linux => SectionTable::Linux,
        args::Table::Windows => SectionTable::Windows,
    };
    for path in &arguments.objects {
        let object = path.to_string_lossy();
        let status = match source::read(path) {
            Ok(data) => inspect_with(
                &object,
                &file_name(path),
                &data,
                table,
                arguments.cost.then(VmConfig::new),
                console,
            )?,
            Err(error) => {
                console.failure(&object, error)?;
                Status::Failed
            }
        };
        worst = worst.max(status);
    }
    Ok(worst)
}

/// Prints what the object in `data` holds and needs, and what loading it takes on a machine like `cost`, if
/// there is one. `path` is what the user called it,
/// `file_name` what maps of data sections are named after.
///
/// # Errors
/// What the console's sinks report. An object that is none is not an error here but a message and [`Status::Failed`].
pub fn inspect_object(
    path: &str,
    file_name: &str,
    data: &[u8],
    cost: Option<VmConfig>,
    console: &mut Console<'_>,
) -> io::Result<Status> {
    inspect_with(path, file_name, data, SectionTable::Linux, cost, console)
}

fn inspect_with(
    path: &str,
    file_name: &str,
    data: &[u8],
    table: SectionTable,
    cost: Option<VmConfig>,
    console: &mut Console<'_>,
) -> io::Result<Status> {
    let mut options = Options::default();
    (options.name, options.section_table) = (file_name, table);
    let object = match File::open_with(data, &options) {
        Ok(object) => object,
        Err(error) => {
            console.failure(path, error)?;
            return Ok(Status::Failed);
        }
    };
    let survey = Survey::of(&object);
    let costs = cost.map(|machine| Costs::of(&object, &survey, machine));
    if console.json() {
        lines::print(path, &object, &survey, costs.as_ref(), console)?;
    } else {
        print(path, &object, &survey, costs.as_ref(), console)?;
    }
    Ok(Status::Done)
}

fn print(
    path: &str,
    object: &File<'_>,
    survey: &Survey<'_, '_>,
    costs: Option<&Costs>,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let (path, license) = (one_line(path), one_line(object.license()));
    let license = if license.is_empty() { "no licence".to_owned() } else { format!("licence {license}") };
    console.text(format_args!("{NAME}{path}{NAME:#}: {license}\n"))?;
    let tables = [programs(survey), subprograms(survey), maps(object), slots(object), needs(&survey.needs)];
    for table in tables.into_iter().chain(costs.map(Costs::table)) {
        if !table.is_empty() {
            console.text(format_args!("\n{table}"))?;
        }
    }
    if let Some(costs) = costs {
        console.text(format_args!("\n{costs}"))?;
    }
    console.text("\n")
}

fn programs(survey: &Survey<'_, '_>) -> Table {
    let mut table = Table::new(&["PROGRAM", "SECTION", "TYPE", ">ATTACH", "AUTOLOAD", ">INSNS", "REFERS TO"]);
    for row in &survey.programs {
        let program = row.program;
        table.row([
            program.name().to_owned(),
            program.section_name().to_owned(),
            program.kind().to_string(),
            program.expected_attach_type().to_string(),
            if program.autoload() { "yes" } else { "no" }.to_owned(),
            program.len().to_string(),
            row.to_string(),
        ]);
    }
    table
}

fn subprograms(survey: &Survey<'_, '_>) -> Table {
    let mut table = Table::new(&["SUBPROGRAM", ">INSNS", "LINKED INTO"]);
    for row in &survey.subprograms {
        let callers = if row.callers.is_empty() { "nothing".to_owned() } else { row.callers.join(", ") };
        table.row([row.name.to_owned(), row.len.to_string(), callers]);
    }
    table
}

fn maps(object: &File<'_>) -> Table {
    let mut table = Table::new(&["MAP", "TYPE", ">KEY", ">VALUE", ">ENTRIES", ">FLAGS"]);
    for map in object.maps() {
        table.row([
            map.name().to_owned(),
            map.kind().to_string(),
            map.key_size().to_string(),
            map.value_size().to_string(),
            map.max_entries().to_string(),
            format!("{:#x}", map.flags()),
        ]);
    }
    table
}

/// What maps hold from the start.
fn slots(object: &File<'_>) -> Table {
    let mut table = Table::new(&["IN MAP", ">ENTRY", "IS"]);
    for map in object.maps() {
        for slot in survey::slots(object, map) {
            let (entry, holds) = match slot {
                Ok(slot) => (slot.entry.to_string(), format!("{} {}", slot.sort, slot.name)),
                Err(problem) => ("?".to_owned(), problem),
            };
            table.row([map.name().to_owned(), entry, holds]);
        }
    }
    table
}

fn needs(needs: &[Need<'_>]) -> Table {
    let mut table = Table::new(&["NEEDS", "WHICH IS A", "WITHOUT IT", "FOR"]);
    for need in needs {
        table.row([need.name.to_owned(), need.what(), need.without().to_owned(), need.programs.join(", ")]);
    }
    table
}
