//! `ebpf-blocks doctor`: what this machine allows, and what to do about each no.

#[cfg(target_os = "linux")]
mod checks;

use std::io;

use serde::Serialize;

use crate::console::{ALARM, Console, FAINT, NAME, Status, one_line};

/// The answer to one question about this machine.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "check")]
struct Check {
    /// What is asked, in a word or two.
    name: &'static str,
    /// Loading and running programs on the kernel needs it.
    required: bool,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do about a no; empty for a yes.
    advice: String,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename = "summary")]
struct Summary<'a> {
    /// Programs can be loaded into the kernel and run there.
    ready: bool,
    /// The checks that said no.
    missing: Vec<&'a str>,
}

/// Asks, and prints every answer. [`Status::Failed`] if programs cannot be loaded into the kernel and run there.
pub(crate) fn doctor(console: &mut Console<'_>) -> io::Result<Status> {
    let checks = all();
    let missing: Vec<&str> = checks.iter().filter(|check| !check.ok).map(|check| check.name).collect();
    let ready = checks.iter().all(|check| check.ok || !check.required);
    for check in &checks {
        print(console, check)?;
    }
    if console.json() {
        console.line(&Summary { ready, missing })?;
    } else if ready {
        let but =
            if missing.is_empty() { String::new() } else { format!("; without {}", missing.join(", ")) };
        console.text(format_args!("\nprograms can be loaded into this kernel and run{but}\n"))?;
    } else {
        console.text(format_args!(
            "\n{ALARM}programs cannot be loaded into this kernel and run{ALARM:#}; `run` without `--platform linux` needs nothing of this\n"
        ))?;
    }
    Ok(if ready { Status::Done } else { Status::Failed })
}

fn print(console: &mut Console<'_>, check: &Check) -> io::Result<()> {
    if console.json() {
        return console.line(check);
    }
    let Check { name, required, ok, .. } = check;
    let (found, advice) = (one_line(&check.found), one_line(&check.advice));
    match (ok, required) {
        (true, _) => console.text(format_args!("yes  {NAME}{name:18}{NAME:#} {found}\n"))?,
        (false, true) => {
            console.text(format_args!("{ALARM}no{ALARM:#}   {NAME}{name:18}{NAME:#} {found}\n"))?
        }
        (false, false) => console.text(format_args!("no   {NAME}{name:18}{NAME:#} {found}\n"))?,
    }
    if !advice.is_empty() {
        console.text(format_args!("{FAINT}     {:18} {advice}{FAINT:#}\n", ""))?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn all() -> Vec<Check> {
    checks::all()
}

#[cfg(not(target_os = "linux"))]
fn all() -> Vec<Check> {
    vec![Check {
        name: "kernel",
        required: true,
        ok: false,
        found: "this system is not Linux".to_owned(),
        advice: "`ebpf-blocks run` uses the embedded machine, which runs anywhere".to_owned(),
    }]
}
