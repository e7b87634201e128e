//! The second pass of validation: where control can go.

use alloc::vec::Vec;

use crate::decode::{Code, Op};
use crate::error::{ValidationError, ValidationErrorKind as Kind};
use crate::validate::{FUNCTION, FUNCTION_ADDRESS, SECOND_HALF};
use crate::{MAX_CALL_FRAMES, memory};

/// Checks every jump and every end of a function; gives the number of functions that can be inside each other.
pub(crate) fn check(ops: &[Op], marks: &[u8]) -> Result<usize, ValidationError> {
    let is_marked = |index: u32, mark| marks.get(memory::index(index)).is_some_and(|marks| marks & mark != 0);
    let mut functions = Vec::new();
    let mut graph = CallGraph::default();
    for (index, mark) in (0u32..).zip(marks) {
        if mark & FUNCTION != 0 {
            functions.push(index);
        }
    }
    let mut function = 0..0;
    for (index, op) in (0u32..).zip(ops) {
        let error = |kind| Err::<(), _>(ValidationError { instruction: memory::index(index), kind });
        if is_marked(index, FUNCTION) {
            let number = functions.partition_point(|start| *start <= index);
            let length = u32::try_from(ops.len()).unwrap_or(u32::MAX);
            function = index..functions.get(number).copied().unwrap_or(length);
            graph.begin_function();
        }
        let target = i64::from(op.target);
        match op.code {
            code if code == Code::Call || (code == Code::LoadWide && op.src == FUNCTION_ADDRESS) => {
                if is_marked(op.target, SECOND_HALF) {
                    error(Kind::JumpIntoLoad { target })?;
                }
                graph.call(functions.partition_point(|start| *start <= op.target));
            }
            code if code.is_jump() => {
                if is_marked(op.target, SECOND_HALF) {
                    error(Kind::JumpIntoLoad { target })?;
                }
                if !function.contains(&op.target) {
                    error(Kind::JumpLeavesFunction { target })?;
                }
            }
            _ => {}
        }
        let is_last = index.checked_add(1) == Some(function.end);
        if is_last && !matches!(op.code, Code::Ja | Code::Exit) {
            error(Kind::FallsOffEnd)?;
        }
    }
    Ok(graph.depth())
}

/// Who calls whom, in one list: the calls of function `i` stand from `begins[i]` to the next function's.
#[derive(Default)]
struct CallGraph {
    begins: Vec<usize>,
    callees: Vec<usize>,
}

impl CallGraph {
    fn begin_function(&mut self) {
        self.begins.push(self.callees.len());
    }

    /// `number` counts from one.
    fn call(&mut self, number: usize) {
        self.callees.push(number.saturating_sub(1));
    }

    /// Functions on the longest way down from the first one; all the machine has when it can go round in a circle.
    fn depth(&self) -> usize {
        const OPEN: usize = usize::MAX;
        // 0: not seen. OPEN: on the way down to here. Otherwise the depth below.
        let mut depths = alloc::vec![0usize; self.begins.len()];
        let mut path = alloc::vec![(0usize, self.begins.first().copied().unwrap_or(0), 1usize)];
        if let Some(depth) = depths.first_mut() {
            *depth = OPEN;
        }
        while let Some((function, next, deepest)) = path.pop() {
            let end = self.begins.get(function.saturating_add(1)).copied().unwrap_or(self.callees.len());
            let callee = if next < end { self.callees.get(next).copied() } else { None };
            let Some(callee) = callee else {
                if let Some(depth) = depths.get_mut(function) {
                    *depth = deepest;
                }
                if let Some((_, _, above)) = path.last_mut() {
                    *above = (*above).max(deepest.saturating_add(1));
                }
                continue;
            };
            match depths.get(callee).copied().unwrap_or(0) {
                OPEN => return MAX_CALL_FRAMES,
                0 => {
                    path.push((function, next.saturating_add(1), deepest));
                    if let Some(depth) = depths.get_mut(callee) {
                        *depth = OPEN;
                    }
                    path.push((callee, self.begins.get(callee).copied().unwrap_or(usize::MAX), 1));
                }
                known => {
                    path.push((function, next.saturating_add(1), deepest.max(known.saturating_add(1))));
                }
            }
        }
        depths.first().copied().unwrap_or(1).min(MAX_CALL_FRAMES)
    }
}
