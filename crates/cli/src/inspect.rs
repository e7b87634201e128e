//! `ebpf-blocks inspect`: what object files hold.

use std::io;

use ebpf_loader::{Map, ObjectFile, Program};
use serde::Serialize;

use crate::args::Inspect;
use crate::console::{Console, NAME, Status, one_line};
use crate::source::{self, file_name};
use crate::table::Table;
use crate::{MAPS, PROGRAMS};

/// Inspects every object; a bad one does not keep the others from being shown.
pub(crate) fn inspect(arguments: &Inspect, console: &mut Console<'_>) -> io::Result<Status> {
    let mut worst = Status::Done;
    for path in &arguments.objects {
        let object = path.to_string_lossy();
        let status = match source::read(path) {
            Ok(data) => inspect_object(&object, &file_name(path), &data, console)?,
            Err(error) => {
                console.failure(&object, error)?;
                Status::Failed
            }
        };
        worst = worst.max(status);
    }
    Ok(worst)
}

/// Prints the program table and the maps of the object in `data`. `path` is what the user called it, `file_name` what maps of
/// data sections are named after.
///
/// # Errors
/// What the console's sinks report. An object that is none is not an error here but a message and [`Status::Failed`].
pub fn inspect_object(
    path: &str,
    file_name: &str,
    data: &[u8],
    console: &mut Console<'_>,
) -> io::Result<Status> {
    let object = match ObjectFile::<'_, PROGRAMS, MAPS>::open_named(file_name, data) {
        Ok(object) => object,
        Err(error) => {
            console.failure(path, error)?;
            return Ok(Status::Failed);
        }
    };
    if console.json() {
        for program in object.programs() {
            console.line(&ProgramLine::new(path, program))?;
        }
        for map in object.maps() {
            console.line(&MapLine::new(path, map))?;
        }
    } else {
        print(path, &object, console)?;
    }
    Ok(Status::Done)
}

fn print(path: &str, object: &ObjectFile<'_, PROGRAMS, MAPS>, console: &mut Console<'_>) -> io::Result<()> {
    let mut programs = Table::new(&["PROGRAM", "SECTION", "TYPE", ">ATTACH", "AUTOLOAD", ">INSNS"]);
    for program in object.programs() {
        programs.row([
            program.name().to_owned(),
            program.section_name().to_owned(),
            program.kind().to_string(),
            program.expected_attach_type().to_string(),
            if program.autoload() { "yes" } else { "no" }.to_owned(),
            program.len().to_string(),
        ]);
    }
    let mut maps = Table::new(&["MAP", "TYPE", ">KEY", ">VALUE", ">ENTRIES", ">FLAGS"]);
    for map in object.maps() {
        maps.row([
            map.name().to_owned(),
            map.kind().to_string(),
            map.key_size().to_string(),
            map.value_size().to_string(),
            map.max_entries().to_string(),
            format!("{:#x}", map.flags()),
        ]);
    }
    let (path, license) = (one_line(path), one_line(object.license()));
    let license = if license.is_empty() { "no licence".to_owned() } else { format!("licence {license}") };
    console.text(format_args!("{NAME}{path}{NAME:#}: {license}\n"))?;
    for table in [programs, maps] {
        if !table.is_empty() {
            console.text(format_args!("\n{table}"))?;
        }
    }
    console.text("\n")
}

#[derive(Serialize)]
struct ProgramLine<'a> {
    kind: &'static str,
    object: &'a str,
    name: &'a str,
    section: &'a str,
    r#type: u32,
    type_name: &'static str,
    attach: u32,
    autoload: bool,
    insns: usize,
}

impl<'a> ProgramLine<'a> {
    fn new(object: &'a str, program: &Program<'a>) -> Self {
        Self {
            kind: "program",
            object,
            name: program.name(),
            section: program.section_name(),
            r#type: program.kind().0,
            type_name: program.kind().type_name(),
            attach: program.expected_attach_type(),
            autoload: program.autoload(),
            insns: program.len(),
        }
    }
}

#[derive(Serialize)]
struct MapLine<'a> {
    kind: &'static str,
    object: &'a str,
    name: &'a str,
    r#type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl<'a> MapLine<'a> {
    fn new(object: &'a str, map: &'a Map<'_>) -> Self {
        Self {
            kind: "map",
            object,
            name: map.name(),
            r#type: map.kind().0,
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.flags(),
        }
    }
}
