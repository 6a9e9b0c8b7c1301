//! zstd: chunks as frames, and two chunks as one frame that can be cut. FORMAT.md, "Records in blocks".

use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name};

use super::error::{FormatError, Problem};

/// An empty last block: it ends a frame that is cut between two blocks.
const END: [u8; 3] = [1, 0, 0];

/// A context that compresses chunks.
pub(super) struct Compressor(CCtx<'static>);

impl Compressor {
    /// # Errors
    /// When zstd refuses the level, or there is no memory.
    pub(super) fn new(level: i32) -> Result<Self, FormatError> {
        let mut context = CCtx::try_create().ok_or_else(|| encode_error("zstd: no memory for a context".to_owned()))?;
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        Ok(Self(context))
    }

    /// One frame; nothing for nothing.
    pub(super) fn frame(&mut self, raw: &[u8]) -> Result<Vec<u8>, FormatError> {
        if raw.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = Vec::with_capacity(compress_bound(raw.len()));
        self.0.compress2(&mut out, raw).map_err(failed)?;
        Ok(out)
    }

    /// One frame in two parts, of which the first is a frame by itself.
    pub(super) fn frame_in_two(&mut self, first: &[u8], second: &[u8]) -> Result<(Vec<u8>, Vec<u8>), FormatError> {
        if first.is_empty() || second.is_empty() {
            return Ok((self.frame(first)?, self.frame(second)?));
        }
        // How much there is cannot stand in the frame, for the first part alone has less; it is told to zstd all the same, for
        // tables of a size that fits.
        self.0.reset(ResetDirective::SessionOnly).map_err(failed)?;
        self.0.set_parameter(CParameter::ContentSizeFlag(false)).map_err(failed)?;
        let total = u64::try_from(first.len().saturating_add(second.len())).unwrap_or(u64::MAX);
        self.0.set_pledged_src_size(Some(total)).map_err(failed)?;
        let mut one = self.stream(first, false)?;
        one.extend_from_slice(&END);
        let two = self.stream(second, true)?;
        self.0.set_parameter(CParameter::ContentSizeFlag(true)).map_err(failed)?;
        Ok((one, two))
    }

    /// What zstd makes of the next part of a frame, up to the end of a block.
    fn stream(&mut self, raw: &[u8], last: bool) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::with_capacity(compress_bound(raw.len()) + 64);
        let mut input = InBuffer::around(raw);
        loop {
            let at = out.len();
            out.reserve(64);
            let mut output = OutBuffer::around_pos(&mut out, at);
            let mut left = self.0.compress_stream(&mut output, &mut input).map_err(failed)?;
            if input.pos() == raw.len() {
                left = if last { self.0.end_stream(&mut output) } else { self.0.flush_stream(&mut output) }
                    .map_err(failed)?;
            }
            if input.pos() == raw.len() && left == 0 {
                return Ok(out);
            }
        }
    }
}

/// A zstd context. One serves any number of cursors: it takes about 160 KB.
pub struct Decompressor {
    context: DCtx<'static>,
    joined: Vec<u8>,
}

impl Decompressor {
    /// A context.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self, FormatError> {
        let context = DCtx::try_create().ok_or_else(|| {
            let problem = Problem::Decompress { part: "context", reason: "no memory".to_owned() };
            FormatError::new("zstd", None, 0, problem)
        })?;
        Ok(Self { context, joined: Vec::new() })
    }

    /// The content of a frame, which replaces what the buffer has; at most `raw` bytes.
    pub(super) fn frame(&mut self, stored: &[u8], raw: usize, buffer: &mut Vec<u8>) -> Result<(), Problem> {
        buffer.clear();
        if stored.is_empty() {
            return Ok(());
        }
        buffer.reserve_exact(raw);
        match self.context.decompress(buffer, stored) {
            Ok(_) => length_is(buffer, raw),
            Err(code) => Err(Problem::Decompress { part: "chunk", reason: get_error_name(code).to_owned() }),
        }
    }

    /// The same for a frame in two parts.
    pub(super) fn frame_in_two(&mut self, stored: [&[u8]; 2], raw: usize, buffer: &mut Vec<u8>) -> Result<(), Problem> {
        let [first, second] = stored;
        if first.is_empty() || second.is_empty() {
            return self.frame(if first.is_empty() { second } else { first }, raw, buffer);
        }
        let Some(begun) = first.strip_suffix(&END) else {
            return Err(Problem::Malformed { part: "chunk", reason: "its frame does not go on".to_owned() });
        };
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        joined.extend_from_slice(begun);
        joined.extend_from_slice(second);
        let done = self.frame(&joined, raw, buffer);
        self.joined = joined;
        done
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

fn length_is(buffer: &[u8], raw: usize) -> Result<(), Problem> {
    if buffer.len() == raw {
        return Ok(());
    }
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    Err(Problem::Length { part: "chunk", found: count(buffer.len()), expected: count(raw) })
}

fn failed(code: usize) -> FormatError {
    encode_error(format!("zstd: {}", get_error_name(code)))
}

fn encode_error(reason: String) -> FormatError {
    FormatError::new("a new run", None, 0, Problem::Encode { reason })
}
