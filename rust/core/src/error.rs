//! The one error type. Each variant is one exception in `amortix.errors`.

use std::cell::Cell;
use std::sync::Once;

/// What can go wrong on purpose. Every message names the thing at fault and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An array has the wrong dtype, shape, memory order or values.
    #[error("{0}")]
    Array(String),
    /// A table cannot be used as asked.
    #[error("{0}")]
    Source(String),
    /// A file is damaged, truncated or of an unknown kind.
    #[error("{0}")]
    Format(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Config(String),
    /// The caller asked a long operation to stop, at one of the points where it may.
    #[error("interrupted")]
    Interrupted,
    /// A defect of amortix itself: a panic that was caught before it could reach the user.
    #[error("internal error in amortix, please report it: {0}")]
    Internal(String),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Run `f`; a panic inside becomes the error that `describe` makes of its message.
///
/// # Errors
/// Those of `f`, and one for each panic.
pub fn guard<T>(f: impl FnOnce() -> Result<T>, describe: impl FnOnce(String) -> Error) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "no message".to_string());
        Err(describe(message))
    })
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Like `guard`, where a panic tells of a damaged file and not of a defect: nothing of it is printed.
///
/// # Errors
/// Those of `f`, and one for each panic.
pub fn guard_quietly<T>(f: impl FnOnce() -> Result<T>, describe: impl FnOnce(String) -> Error) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                print(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = guard(f, describe);
    QUIET.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let caught = |f: fn() -> Result<()>| guard(f, Error::Internal).unwrap_err().to_string();
        assert!(caught(|| panic!("at {}", 7)).ends_with("at 7"));
        assert!(caught(|| panic!("plain")).ends_with("plain"));
        assert!(caught(|| std::panic::panic_any(3)).ends_with("no message"));
        assert_eq!(guard(|| Ok(3), Error::Internal), Ok(3));
        let quiet = |f: fn() -> Result<()>| guard_quietly(f, Error::Format).unwrap_err();
        let inner = || guard_quietly(|| panic!("inside"), Error::Format);
        assert_eq!(quiet(|| panic!("hush")), Error::Format("hush".into()));
        let nested = guard_quietly(|| inner().or_else(|_: Error| Ok(QUIET.get())), Error::Format);
        assert_eq!((nested, QUIET.get()), (Ok(true), false));
    }
}
