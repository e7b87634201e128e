//! The same as JSON, one object per line.

use std::io;

use ebpf_loader::{Map, Program};
use serde::Serialize;
use serde_json::json;

use super::File;
use super::cost::{Cost, Costs};
use super::survey::{ProgramSurvey, Sort, Survey, slots};
use crate::console::Console;

pub(super) fn print(
    path: &str,
    object: &File<'_>,
    survey: &Survey<'_, '_>,
    costs: Option<&Costs>,
    console: &mut Console<'_>,
) -> io::Result<()> {
    console.line(&json!({
        "kind": "object", "object": path, "license": object.license(), "programs": survey.programs.len(),
        "subprograms": survey.subprograms.len(), "maps": object.maps().len(), "native": object.is_native(),
    }))?;
    for (index, row) in survey.programs.iter().enumerate() {
        let cost = costs.and_then(|costs| costs.programs.get(index)).and_then(|(_, _, cost)| *cost);
        console.line(&ProgramLine::new(path, row, cost))?;
    }
    for row in &survey.subprograms {
        console.line(&json!({
            "kind": "subprogram", "object": path, "name": row.name, "insns": row.len, "linked_into": row.callers,
        }))?;
    }
    for map in object.maps() {
        console.line(&MapLine::new(path, object, map))?;
    }
    for need in &survey.needs {
        let mut line = json!({
            "kind": "need", "object": path, "name": need.name, "what": need.sort_name(), "programs": need.programs,
        });
        if let Some(fields) = line.as_object_mut() {
            match &need.sort {
                Sort::Core(places) => {
                    fields.insert("weak".into(), false.into());
                    fields.insert("places".into(), (*places).into());
                }
                Sort::Extern(found) => {
                    fields.insert("weak".into(), found.is_weak().into());
                    if let Some(variable) = found.kconfig() {
                        let kind = format!("{:?}", variable.kind).to_lowercase();
                        fields.insert("type".into(), kind.into());
                        fields.insert("size".into(), variable.size.into());
                    }
                }
            }
        }
        console.line(&line)?;
    }
    match costs {
        Some(costs) => console.line(&CostLine { kind: "cost", object: path, costs }),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct CostLine<'a> {
    kind: &'static str,
    object: &'a str,
    #[serde(flatten)]
    costs: &'a Costs,
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
    /// With the subprograms; nothing for a damaged program.
    linked: Option<usize>,
    maps: &'a [&'a str],
    calls: &'a [&'a str],
    callbacks: &'a [&'a str],
    externs: Vec<&'a str>,
    core: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
}

impl<'a> ProgramLine<'a> {
    fn new(object: &'a str, row: &'a ProgramSurvey<'a, 'a>, cost: Option<Cost>) -> Self {
        let program: &Program<'a> = row.program;
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
            linked: row.needs.map(|needs| needs.instructions),
            maps: &row.maps,
            calls: &row.calls,
            callbacks: &row.callbacks,
            externs: row.externs.iter().map(|found| found.name()).collect(),
            core: row.needs.map_or(0, |needs| needs.core),
            problem: row.problem.as_deref(),
            cost,
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
    autocreate: bool,
    /// What it holds from the start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<serde_json::Value>,
}

impl<'a> MapLine<'a> {
    fn new(path: &'a str, object: &'a File<'_>, map: &'a Map<'_>) -> Self {
        let values = slots_of(object, map);
        Self {
            kind: "map",
            object: path,
            name: map.name(),
            r#type: map.kind().0,
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.flags(),
            autocreate: map.autocreate(),
            values,
        }
    }
}

fn slots_of(object: &File<'_>, map: &Map<'_>) -> Vec<serde_json::Value> {
    let index = object.maps().iter().position(|other| std::ptr::eq(other, map));
    let Some(map) = index.and_then(|index| object.maps().get(index)) else { return Vec::new() };
    let value = |slot: Result<super::survey::Slot<'_>, String>| match slot {
        Ok(slot) => json!({ "entry": slot.entry, slot.sort: slot.name }),
        Err(problem) => json!({ "problem": problem }),
    };
    slots(object, map).map(value).collect()
}
