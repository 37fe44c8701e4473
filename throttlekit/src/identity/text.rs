//! The text of an address, without allocation.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use arrayvec::ArrayString;

/// The longest address, `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`, and [`AddressText::MAX_MARK`].
const CAPACITY: usize = 48;

/// The text of an address as a key: on the stack, at most 48 bytes.
///
/// IPv4 in decimal; IPv6 in the canonical form of RFC 5952, which has one text for each address. `Debug` shows nothing of
/// it, since an address is personal data.
///
/// ```
/// use throttlekit::identity::AddressText;
///
/// let text = AddressText::of("2001:DB8:0:0::1".parse()?);
/// assert_eq!(text.as_str(), "2001:db8::1");
/// assert_eq!(format!("{text:?}"), "AddressText(..)");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy)]
pub struct AddressText {
    /// ASCII throughout, also behind the text.
    bytes: Words,
    len: u8,
}

/// Aligned, so that the library asks whole words whether they are text.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Words([u8; CAPACITY]);

impl AddressText {
    /// How long a [mark](Self::marked) may be, in bytes.
    pub const MAX_MARK: usize = 9;

    /// No text.
    #[inline]
    pub const fn new() -> Self {
        Self { bytes: Words([0; CAPACITY]), len: 0 }
    }

    /// The text of `address` as it is; [`aggregate`](super::aggregate) first what is not to be told apart.
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        let mut text = Self::new();
        text.set(address);
        text
    }

    /// `mark` and then the address, such as `peer:192.0.2.1`: a key that cannot be mistaken for one of another kind.
    /// `None` if the mark is longer than [`MAX_MARK`](Self::MAX_MARK).
    ///
    /// ```
    /// use throttlekit::identity::AddressText;
    ///
    /// let address = "192.0.2.1".parse()?;
    /// assert_eq!(AddressText::marked("peer:", address).as_ref().map(AddressText::as_str), Some("peer:192.0.2.1"));
    /// assert!(AddressText::marked("0123456789", address).is_none());
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn marked(mark: &str, address: IpAddr) -> Option<Self> {
        if mark.len() > Self::MAX_MARK {
            return None;
        }
        let mut text = Self::new();
        text.format(mark, address);
        Some(text)
    }

    /// Replaces the text by that of `address`.
    #[inline]
    pub fn set(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let (digits, len) = decimal(address);
                if let Some(start) = self.bytes.0.first_chunk_mut() {
                    *start = digits;
                }
                self.len = len;
            }
            IpAddr::V6(_) => self.format("", address),
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // All of it, or all that IPv4 may need: of two words that is told sooner than of nine bytes.
        let bytes = if self.len <= 16 { &self.bytes.0[..16] } else { &self.bytes.0[..] };
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        text.get(..usize::from(self.len)).unwrap_or_default()
    }

    #[cold]
    fn format(&mut self, mark: &str, address: IpAddr) {
        let mut text = ArrayString::<CAPACITY>::new();
        // It cannot fail: there is room for the longest mark and address.
        let _ = write!(text, "{mark}{address}");
        *self = Self::new();
        self.bytes.0[..text.len()].copy_from_slice(text.as_bytes());
        self.len = u8::try_from(text.len()).unwrap_or_default();
    }
}

impl Default for AddressText {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for AddressText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for AddressText {}

impl Hash for AddressText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl AsRef<str> for AddressText {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressText(..)")
    }
}

/// For each octet its digits and a full stop, the first of them in the lowest byte, and how many bytes they are.
static OCTETS: [(u32, u8); 256] = octets();

#[allow(clippy::cast_possible_truncation)] // octets and digits
const fn octets() -> [(u32, u8); 256] {
    let mut octets = [(0, 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let mut text = b'.' as u32;
        let (mut rest, mut length) = (octet as u32, 1);
        while length == 1 || rest > 0 {
            text = (text << 8) | (b'0' as u32 + rest % 10);
            rest /= 10;
            length += 1;
        }
        octets[octet] = (text, length);
        octet += 1;
    }
    octets
}

/// `address` in decimal, a full stop behind it, and how many bytes it has without that one.
///
/// The general formatter costs more than the check that this is for. Put together in a register, since bytes that are
/// stored one by one are slow to read as words, and hashing reads words.
#[inline]
fn decimal(address: Ipv4Addr) -> ([u8; 16], u8) {
    let [a, b, c, d] = address.octets();
    let ((first, first_len), (second, second_len)) = (pair(a, b), pair(c, d));
    let text = u128::from(first) | (u128::from(second) << (8 * first_len));
    (text.to_le_bytes(), first_len + second_len - 1)
}

#[inline]
fn pair(a: u8, b: u8) -> (u64, u8) {
    let ((a, a_len), (b, b_len)) = (OCTETS[usize::from(a)], OCTETS[usize::from(b)]);
    (u64::from(a) | (u64::from(b) << (8 * a_len)), a_len + b_len)
}
