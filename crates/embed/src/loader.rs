//! `ebpf-loader`.

use core::hint::black_box;
use core::ptr::drop_in_place;

use ebpf_loader::*;

use crate::laws;
use crate::outside::{Outside, Refused};

laws! {
    "loader":
    Attached::<Outside>::link,
    Attached::<Outside>::detach,
    Links::<Outside, 4>::len,
    Links::<Outside, 4>::is_empty,
    Links::<Outside, 4>::iter,
    Object::<64, 64>::open,
    Object::<64, 64>::open_named,
    Object::<64, 64>::open_into,
    Object::<64, 64>::empty,
    Object::<64, 64>::file,
    Object::<64, 64>::programs,
    Object::<64, 64>::program,
    Object::<64, 64>::set_autoload,
    Object::<64, 64>::set_autocreate,
    Object::<64, 64>::scratch_len,
    Object::<64, 64>::on::<Outside>,
    Loaded::<Outside, 64, 64>::load,
    Loaded::<Outside, 64, 64>::programs,
    Loaded::<Outside, 64, 64>::program,
    Loaded::<Outside, 64, 64>::maps,
    Loaded::<Outside, 64, 64>::map,
    Loaded::<Outside, 64, 64>::attach,
    Loaded::<Outside, 64, 64>::ring,
    Loaded::<Outside, 64, 64>::user_ring,
    MapSpec::new,
    MapSpec::from_map,
}

laws! {
    "loader":
    "Loaded::load_with" => load_with,
    "Loaded::attach_all" => attach_all,
    "Loaded::drop" => drop_in_place::<Loaded<'static, 'static, 'static, Outside, 64, 64>>,
    "Links::drop" => drop_in_place::<Links<'static, Outside, 4>>,
}

fn load_with(
    loaded: &mut Loaded<'static, 'static, 'static, Outside, 64, 64>,
    scratch: &mut [Instruction],
) -> Result<(), LoadError<Refused>> {
    loaded.load_with(black_box(&mut ()), scratch)
}

fn attach_all<'l>(
    loaded: &'l Loaded<'static, 'static, 'static, Outside, 64, 64>,
    targets: &[(&'static str, &'static str)],
) -> Result<Links<'l, Outside, 4>, AttachError<Refused>> {
    loaded.attach_all(targets.iter().copied())
}
