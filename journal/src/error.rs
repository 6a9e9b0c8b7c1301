//! The public error: each layer's own error in one of a few kinds that tell the caller what to do.

use std::fmt;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A service or disk did not answer or refused for now: try again.
    Unavailable,
    /// The input, a flag or a setting is wrong: mend it.
    Invalid,
    /// Stored bytes are not what was written: stop; another version of the object may be whole.
    Corrupt,
    /// History is incomplete where it was asked for.
    Gap,
    /// Somebody else wrote, or the target is taken.
    Conflict,
    /// Written by a newer version of this software.
    Unsupported,
    /// Stopped by the user; the step was finished or rolled back.
    Interrupted,
    /// A defect of this software: report it.
    Internal,
}

impl Kind {
    /// The exit code of the command line: 1 is never used, so that a kind can be told from a crash.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid => 2,
            Self::Unavailable => 3,
            Self::Corrupt => 4,
            Self::Gap => 5,
            Self::Conflict => 6,
            Self::Unsupported => 7,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// What every layer's error can say about itself.
pub trait Classify: std::error::Error + Send + Sync + 'static {
    /// What the caller can do.
    fn kind(&self) -> Kind;

    /// The way out in one sentence, where there is one: a command, a flag, a setting.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error of any layer. Its text names the action and the object; [`Error::hint`] says what to do next.
#[derive(Debug)]
pub struct Error {
    inner: Box<dyn Classify>,
}

impl Error {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind()
    }

    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.inner.hint()
    }

    /// The layer's own error, where it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: Classify>(&self) -> Option<&E> {
        let error: &(dyn std::error::Error + 'static) = &*self.inner;
        error.downcast_ref()
    }
}

impl<E: Classify> From<E> for Error {
    fn from(error: E) -> Self {
        Self { inner: Box::new(error) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)?;
        let mut source = self.inner.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// The result of anything public.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! invalid {
    ($($error:ty),+ $(,)?) => {
        $(impl Classify for $error {
            fn kind(&self) -> Kind {
                Kind::Invalid
            }
        })+
    };
}

invalid!(
    crate::model::KeyError,
    crate::model::ImageError,
    crate::model::NumberError,
    crate::model::SecondError,
    crate::model::SequenceError,
    crate::model::StreamArnError,
    crate::model::TableNameError,
);
