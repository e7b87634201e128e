//! Instructions that stand together so often that they are run as one.
//!
//! The first slot of such a group gets a [`Code`] that does the work of all of them and goes on behind the last. The others stay what
//! they are: a jump may lead to any of them, indices and budgets mean what they meant, and a group whose short way is not open is run
//! one by one. So it does not matter how control comes here, and one look at each slot is enough.
//!
//! What a group's first slot does not say itself is read from the others when it runs. These may have become the first of a group of
//! their own: fusing changes no field that their own instruction uses.

use crate::decode::Code::{self, *};
use crate::decode::Op;
use crate::decode::Register::{R0, R1, R2, R3};

/// Fuses what can be fused, in validated code.
pub(crate) fn fuse(ops: &mut [Op]) {
    let mut rest = ops;
    while let Some((first, behind)) = rest.split_first_mut() {
        if let Some(group) = group(*first, behind) {
            *first = group;
        }
        rest = behind;
    }
}

/// The group that begins with `first`, which is followed by `behind`.
#[inline(always)]
fn group(first: Op, behind: &[Op]) -> Option<Op> {
    match first.code {
        Mov64X => extension(first, behind, [Signed3, Unsigned3])
            .map(|third| called(third, behind))
            .or_else(|| field(first, behind, [MovLshAnd, MovRshAnd]))
            .or_else(|| moved(first, behind)),
        Mov32X => extension(first, behind, [Signed3, Unsigned3]).map(|third| called(third, behind)),
        Lsh64K | Rsh64K => {
            let both = [first, *behind.first()?];
            let to_itself = Op { src: first.dst, ..first };
            extension(to_itself, &both, [Signed2, Unsigned2])
                .or_else(|| field(to_itself, &both, [LshAnd, RshAnd]))
        }
        Load => match behind.first()?.code {
            Store32X => Some(Op { code: LoadStore32, ..first }),
            Store64X => Some(Op { code: LoadStore64, ..first }),
            _ => pair(first, behind, [LoadMov, LoadLoad]),
        },
        LoadWide => {
            let behind = behind.get(1..)?;
            map_helper(first, behind).or_else(|| pair(first, behind, [WideMov, WideLoad]))
        }
        Store32X | Store64X => {
            let second = behind.first()?;
            let code = if first.code == Store32X { Store32Store32 } else { Store64Store64 };
            ((second.code, second.dst) == (first.code, first.dst)).then_some(Op { code, ..first })
        }
        Lookup if is_null_check(behind.first()?) => Some(Op { code: LookupJeq, ..first }),
        Add64K => {
            let jump = behind.first()?;
            (jump.code == Jne64K && jump.dst == first.dst).then_some(Op { code: AddJne, ..first })
        }
        Load32 => increment(first, behind, [Add32K, Store32X], Increment32),
        Load64 => increment(first, behind, [Add64K, Store64X], Increment64),
        _ => None,
    }
}

/// The map in register 1, other arguments if there are any, and the helper.
fn map_helper(first: Op, behind: &[Op]) -> Option<Op> {
    let is = |op: &Op, code, dst| op.code == code && op.dst == dst;
    let code = match behind {
        _ if first.dst != R1 => return None,
        [call, jump, ..] if call.code == Lookup && is_null_check(jump) => WideLookupJeq,
        [value, call, ..] if is(value, Mov64X, R2) && call.code == MapPop => WidePop,
        [value, call, ..] if is(value, Mov64X, R2) && call.code == MapPeek => WidePeek,
        [value, flags, call, ..] if is(value, Mov64X, R2) && is(flags, Load, R3) && call.code == MapPush => {
            WidePush
        }
        [size, flags, call, ..] if is(size, Load, R2) && is(flags, Load, R3) && call.code == RingReserve => {
            WideReserve
        }
        _ => return None,
    };
    Some(Op { code, ..first })
}

/// A move, and then an operation on what was moved or another move.
fn moved(first: Op, behind: &[Op]) -> Option<Op> {
    let second = *behind.first()?;
    let code = match second.code {
        Load => match behind.get(1)?.code {
            RingSubmit if first.dst == R1 && second.dst == R2 => MovSubmit,
            RingDiscard if first.dst == R1 && second.dst == R2 => MovDiscard,
            Call => MovLoadCall,
            _ => MovLoad,
        },
        // A look-up with its jump is a group of its own.
        Add64K if second.dst == first.dst => match behind.get(1..) {
            Some([wide, _, behind @ ..]) if wide.code == LoadWide && !is_look_up(*wide, behind) => MovAddWide,
            _ => MovAdd,
        },
        And64K if second.dst == first.dst => MovAnd,
        Mov64X if behind.get(1).is_some_and(|third| third.code == Mov64X) => MovMovMov,
        Mov64X => MovMov,
        _ => return None,
    };
    Some(Op { code, imm: second.imm, ..first })
}

/// What is extended may be the third argument of a function.
fn called(extended: Op, behind: &[Op]) -> Op {
    match behind {
        [_, _, first, second, call, ..]
            if extended.code == Signed3 && (first.code, second.code, call.code) == (Mov64X, Load, Call) =>
        {
            Op { code: Signed3MovLoadCall, ..extended }
        }
        _ => extended,
    }
}

/// Something, and then a move from a register or an immediate.
fn pair(first: Op, behind: &[Op], [mov, load]: [Code; 2]) -> Option<Op> {
    let code = match behind.first()?.code {
        Mov64X => mov,
        Load => load,
        _ => return None,
    };
    Some(Op { code, ..first })
}

/// `lsh 32` and `arsh 32` or `rsh 32`: how compilers extend 32 bits. They work on what `first` has moved.
fn extension(first: Op, behind: &[Op], [signed, unsigned]: [Code; 2]) -> Option<Op> {
    let &[up, down, ..] = behind else { return None };
    let is_one = up.code == Lsh64K && (up.dst, up.imm, down.dst, down.imm) == (first.dst, 32, first.dst, 32);
    let code = match down.code {
        Arsh64K if is_one => signed,
        Rsh64K if is_one => unsigned,
        _ => return None,
    };
    Some(Op { code, ..first })
}

/// A shift and a mask: how compilers take a field out of a word. They work on what `first` has moved.
fn field(first: Op, behind: &[Op], [left, right]: [Code; 2]) -> Option<Op> {
    let &[shift, mask, ..] = behind else { return None };
    let is_one = mask.code == And64K && (shift.dst, mask.dst) == (first.dst, first.dst) && shift.imm < 64;
    let code = match shift.code {
        Lsh64K if is_one => left,
        Rsh64K if is_one => right,
        _ => return None,
    };
    Some(Op { code, target: u32::try_from(shift.imm).ok()?, imm: mask.imm, ..first })
}

/// `*place += amount`, where the place is not found through the register that it is loaded to.
fn increment(load: Op, behind: &[Op], wanted: [Code; 2], code: Code) -> Option<Op> {
    let &[add, store, ..] = behind else { return None };
    let is_one = [add.code, store.code] == wanted
        && (add.dst, store.src) == (load.dst, load.dst)
        && (store.dst, store.target) == (load.src, load.target)
        && load.src != load.dst;
    is_one.then_some(Op { code, imm: add.imm, ..load })
}

fn is_look_up(wide: Op, behind: &[Op]) -> bool {
    map_helper(wide, behind).is_some_and(|group| group.code == WideLookupJeq)
}

/// `if r0 == 0 goto`
fn is_null_check(op: &Op) -> bool {
    op.code == Jeq64K && op.dst == R0 && op.imm == 0
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers of a test"
)]
mod tests;
