//! The key filter: pages of binary fuse filters. FORMAT.md, "Key filter".

use twox_hash::XxHash3_64;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

use super::error::Problem;
use super::wire::{Wire, put_length};

const KEYS_A_PAGE: usize = 256;
const DESCRIPTOR_BYTES: usize = 20;
/// Pages of more than this many bytes are refused: a page of 256 keys has about 450.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The hash of an encoded key that the filter knows it by.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

/// One page as the directory describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterPage {
    /// Offset in the object.
    pub offset: u64,
    /// Stored bytes; 0 for a page without keys.
    pub length: u32,
    /// CRC-32 of the stored bytes.
    pub crc32: u32,
}

/// Builds the pages and the directory over the hashes of a run's distinct keys.
pub(super) fn build(hashes: &mut Vec<u64>) -> Result<(Vec<u8>, Vec<u8>, usize), Problem> {
    hashes.sort_unstable();
    hashes.dedup();
    let pages = hashes.len().div_ceil(KEYS_A_PAGE);
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    let mut rest = hashes.as_slice();
    for page in 0..pages {
        // Hashes are sorted, so a page's are a run of them.
        let end = rest.partition_point(|hash| page_of(*hash, pages) <= page);
        let (mine, after) = rest.split_at(end);
        rest = after;
        let start = bytes.len();
        if !mine.is_empty() {
            let filter = BinaryFuse8::try_from(mine).map_err(|reason| Problem::Encode { reason: reason.to_owned() })?;
            let mut descriptor = [0; DESCRIPTOR_BYTES];
            filter.dma_copy_descriptor_to(&mut descriptor);
            bytes.extend_from_slice(&descriptor);
            bytes.extend_from_slice(filter.dma_fingerprints());
        }
        let stored = bytes.get(start..).unwrap_or_default();
        put_length(&mut directory, stored.len());
        directory.extend_from_slice(&crc32fast::hash(stored).to_le_bytes());
    }
    Ok((bytes, directory, pages))
}

/// The page that a hash belongs to.
pub(super) fn page_of(hash: u64, pages: usize) -> usize {
    let pages = u128::from(u64::try_from(pages).unwrap_or(u64::MAX));
    usize::try_from((u128::from(hash) * pages) >> 64).unwrap_or(0)
}

/// The page of a directory that knows a key; none where there are no pages.
pub(super) fn page_for(directory: &[FilterPage], key: &[u8]) -> Option<FilterPage> {
    directory.get(page_of(key_hash(key), directory.len())).copied()
}

/// Reads the directory of `pages` pages that begin at `offset`.
pub(super) fn parse_directory(bytes: &[u8], pages: usize, mut offset: u64) -> Result<Vec<FilterPage>, Problem> {
    let mut wire = Wire::new(bytes, "filter directory");
    let mut directory = Vec::with_capacity(pages.min(bytes.len()));
    for _ in 0..pages {
        let length = wire.length()?;
        if length > PAGE_BYTES_MAX {
            return Err(wire.malformed("a page is larger than any"));
        }
        let length = u32::try_from(length).map_err(|_| wire.malformed("a page is larger than any"))?;
        directory.push(FilterPage { offset, length, crc32: wire.u32()? });
        offset = offset.saturating_add(u64::from(length));
    }
    if wire.is_empty() { Ok(directory) } else { Err(wire.malformed("bytes follow its end")) }
}

/// Whether a page may have a hash. The page's checksum must have been checked.
pub(super) fn page_contains(page: &[u8], hash: u64) -> Result<bool, Problem> {
    if page.is_empty() {
        return Ok(false);
    }
    let filter = parse_page(page)?;
    Ok(filter.contains(&hash))
}

pub(super) fn parse_page(page: &[u8]) -> Result<BinaryFuse8Ref<'_>, Problem> {
    let mut wire = Wire::new(page, "filter page");
    let (_seed, segment_length, mask, segment_count_length) = (wire.u64()?, wire.u32()?, wire.u32()?, wire.u32()?);
    // The crate indexes without checks of its own against foreign geometry, so it is checked here.
    let (descriptor, fingerprints) =
        page.split_at_checked(DESCRIPTOR_BYTES).ok_or_else(|| wire.malformed("it ends too early"))?;
    let sound = segment_length.is_power_of_two()
        && segment_length <= 1 << 18
        && mask == segment_length - 1
        && segment_count_length > 0
        && segment_count_length % segment_length == 0
        && u64::try_from(fingerprints.len()).ok()
            == Some(u64::from(segment_count_length) + 2 * u64::from(segment_length));
    if !sound {
        return Err(wire.malformed("its lengths do not agree"));
    }
    Ok(BinaryFuse8Ref::from_dma(descriptor, fingerprints))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_few_others() {
        for count in [1u64, 2, 3, 4, 5, 10, 100, 511, 512, 513, 1000, 1024, 1025, 5000] {
            let mut hashes: Vec<u64> = (0..count).map(|n| key_hash(&n.to_le_bytes())).collect();
            let (bytes, directory, pages) = build(&mut hashes).unwrap();
            let directory = parse_directory(&directory, pages, 0).unwrap();
            let contains = |hash: u64| {
                let page = directory[page_of(hash, pages)];
                let start = usize::try_from(page.offset).unwrap();
                let stored = &bytes[start..start + usize::try_from(page.length).unwrap()];
                assert_eq!(crc32fast::hash(stored), page.crc32);
                page_contains(stored, hash).unwrap()
            };
            assert!((0..count).all(|n| contains(key_hash(&n.to_le_bytes()))));
            let wrong = (count..count + 10_000).filter(|n| contains(key_hash(&n.to_le_bytes()))).count();
            assert!(wrong < 100, "{wrong} of 10000 absent keys pass the filter of {count}");
        }
    }

    #[test]
    fn foreign_geometry_is_refused() {
        let mut hashes = vec![1, 2, 3];
        let (bytes, _, _) = build(&mut hashes).unwrap();
        for at in 8..20 {
            let mut bad = bytes.clone();
            bad[at] ^= 0x11;
            assert!(parse_page(&bad).is_err());
        }
        assert!(parse_page(&bytes[..bytes.len() - 1]).is_err());
    }
}
