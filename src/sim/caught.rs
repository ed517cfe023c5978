//! A core or an invariant that panics has found something wrong, too.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::check::invariants::Violation;

/// What a panic violates.
pub(super) const ASSERTIONS: &str = "assertions of the code";

thread_local! {
    /// What a panic in this thread says, while it is caught.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs something that may panic: then it violates [`ASSERTIONS`], by what the panic said, and where.
/// Nothing is printed.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    static HOOK: Once = Once::new();
    HOOK.call_once(hear_panics);
    PANIC.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    let what = PANIC.take().unwrap_or_default();
    outcome.unwrap_or_else(|_: Box<dyn Any + Send>| Err(Violation { invariant: ASSERTIONS, what }))
}

/// Notes what panics say in threads that catch them; all others are told as usual.
fn hear_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let noted = PANIC.with_borrow_mut(|panic| {
            let noted = panic.is_some();
            *panic = noted.then(|| info.to_string());
            noted
        });
        if !noted {
            usual(info);
        }
    }));
}
