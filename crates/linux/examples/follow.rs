//! A tool's main loop: open an object, choose one of its programs, load and attach it, sleep until it has something to say, read its ring.
//!
//! `cargo run -p ebpf-linux --example follow` (root, Linux 6.6): the program runs for every packet that reaches the loopback interface, and
//! writes what it found into the ring `events`.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::net::UdpSocket;
    use std::time::Duration;

    use ebpf_linux::{Interest, Linux, Target, Trigger, Waiter};
    use ebpf_loader::{Instruction, Object};

    const OBJECT: &[u8] = include_bytes!("../../cli/programs/maps.bpf.o");
    let object: Object = Object::open_named("maps.bpf.o", OBJECT)?;
    for program in object.programs() {
        object.set_autoload(program.name(), program.name() == "test_PUSH_POP_map")?;
    }
    let mut scratch = vec![Instruction::default(); object.scratch_len()?];
    let mut loaded = object.on(&Linux);
    loaded.load(&mut scratch)?;

    let mut events = loaded.ring("events")?;
    let waiter = Waiter::new()?;
    let ring = loaded.map("events").ok_or("the object has a map `events`")?;
    // By edge: told once, then read to the end. The consumer's barrier makes sure that nothing is missed.
    waiter.add(ring, 0, Interest::Readable, Trigger::Edge)?;

    let loopback = std::fs::read_to_string("/sys/class/net/lo/ifindex")?.trim().parse()?;
    let attached = loaded.attach("test_PUSH_POP_map", Target::Tcx { interface: loopback, egress: false })?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"a packet", socket.local_addr()?)?;

    let mut ready = Vec::new();
    let mut records: u64 = 0;
    while records == 0 {
        waiter.wait(&mut ready, Some(Duration::from_secs(5)))?;
        if ready.is_empty() {
            return Err("no packet came by in five seconds".into());
        }
        while let Ok(record) = events.next_record() {
            records = records.saturating_add(1);
            if records <= 3 {
                println!("{:4} bytes: {:02x?}", record.len(), &*record);
            }
        }
    }
    println!("{records} records");
    // Last in, first out, also by itself: detached, then unloaded, then the maps go.
    attached.detach();
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this needs Linux");
}
