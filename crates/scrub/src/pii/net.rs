//! IP and MAC addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Of the internet.
    Public,
    /// Of a network at home or in a firm.
    Private,
    /// Of the examples in documents. Invented texts use them for those of persons.
    Documentation,
    /// Of nobody: loopback, multicast, unspecified.
    Nobody,
}

/// The longest IPv6 address with an IPv4 address at its end.
const LONGEST_V6: usize = 45;

/// An IPv4 address that begins at a place: its end and reach.
pub(crate) fn ipv4(bytes: &[u8], start: usize) -> Option<(usize, Reach)> {
    if start > 0 && (matches!(bytes[start - 1], b'.' | b'_' | b'-') || bytes[start - 1].is_ascii_alphanumeric()) {
        return None;
    }
    let mut octets = [0_u8; 4];
    let mut at = start;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let length = bytes[at..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        // A zero in front is octal to some and decimal to others, and no address to us.
        if !(1..=3).contains(&length) || length > 1 && bytes[at] == b'0' {
            return None;
        }
        let value = bytes[at..at + length].iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
        *octet = u8::try_from(value).ok()?;
        at += length;
    }
    let next = bytes.get(at);
    let further = bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
    if next.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        || next.is_some_and(|byte| matches!(byte, b'.' | b'-')) && further
    {
        return None;
    }
    Some((at, reach_v4(Ipv4Addr::from(octets))))
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, ..] = address.octets();
    if address.is_private() || address.is_link_local() || a == 100 && (64..128).contains(&b) {
        Reach::Private
    } else if address.is_documentation() {
        Reach::Documentation
    } else if address.is_loopback()
        || address.is_unspecified()
        || address.is_broadcast()
        || a == 0
        || a >= 224
        || a == 255
    {
        Reach::Nobody
    } else {
        Reach::Public
    }
}

/// Whether an IPv4 address could as well be a version (`OpenSSL 1.1.1.4`): four small numbers, without a port.
pub(crate) fn is_like_version(bytes: &[u8], start: usize, end: usize) -> bool {
    let small = |part: &[u8]| part.len() == 1 || part.len() == 2 && part[0] == b'1';
    let port = bytes.get(end) == Some(&b':') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    !port && bytes[start..end].split(|byte| *byte == b'.').all(small)
}

/// An IPv6 address around a colon: its start, end and reach.
pub(crate) fn ipv6(text: &str, colon: usize) -> Option<(usize, usize, Reach)> {
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
    let low = colon.saturating_sub(LONGEST_V6);
    let mut start = colon - bytes[low..colon].iter().rev().take_while(|byte| is_part(byte)).count();
    let part = |byte: &&u8| is_part(byte) || **byte == b'.';
    let mut end = colon + bytes[colon..].iter().take(LONGEST_V6 + 1).take_while(part).count();
    if end - start > LONGEST_V6 {
        return None;
    }
    // `src:fe80::1`: the word before the first colon is none of it.
    let word = start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || matches!(bytes[start - 1], b'_' | b'.'));
    if word || bytes[start] == b':' && bytes.get(start + 1) != Some(&b':') {
        start += bytes[start..end].iter().position(|byte| *byte == b':')? + 1;
    }
    if start >= end {
        return None;
    }
    // A full stop or a colon behind it is no part of it.
    while end > start && bytes[end - 1] == b'.' || end > start + 1 && bytes[end - 1] == b':' && bytes[end - 2] != b':' {
        end -= 1;
    }
    if bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let written = &text[start..end];
    let address: Ipv6Addr = written.parse().ok()?;
    // `a::b` is a path of some programming language, and `::` is everything and nothing.
    if !written.bytes().any(|byte| byte.is_ascii_digit()) || written.len() < 3 {
        return None;
    }
    let groups = written.split(':').filter(|group| !group.is_empty()).count();
    if groups < 3 && !written.starts_with("::") && !written.ends_with("::") && written.len() < 8 {
        return None;
    }
    // A zone (`%eth0`) belongs to it.
    if bytes.get(end) == Some(&b'%') {
        let zone = bytes[end + 1..].iter().take(16).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        end += if zone > 0 { zone + 1 } else { 0 };
    }
    Some((start, end, reach_v6(address)))
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if let Some(inner) = address.to_ipv4_mapped() {
        return reach_v4(inner);
    }
    let [first, second, ..] = address.segments();
    if first == 0x2001 && second == 0xdb8 || first == 0x3fff && second < 0x1000 {
        Reach::Documentation
    } else if address.is_unspecified() || address.is_loopback() || first >> 8 == 0xff || first == 0 {
        Reach::Nobody
    } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80 {
        Reach::Private
    } else if (0x2000..0x4000).contains(&first) || first == 0x64 {
        Reach::Public
    } else {
        Reach::Nobody
    }
}

/// A hardware address that begins at a place: its end. Six pairs between colons or hyphens, or three fours between
/// dots.
pub(crate) fn mac(bytes: &[u8], start: usize) -> Option<usize> {
    if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || matches!(bytes[start - 1], b':' | b'-' | b'_' | b'.'))
    {
        return None;
    }
    let size = bytes[start..].iter().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let separator = *bytes.get(start + size)?;
    let groups = match (size, separator) {
        (2, b':' | b'-') => 6,
        (4, b'.') => 3,
        _ => return None,
    };
    let mut at = start;
    for group in 0..groups {
        if group > 0 {
            if bytes.get(at) != Some(&separator) {
                return None;
            }
            at += 1;
        }
        if bytes[at..].iter().take(size + 1).take_while(|byte| byte.is_ascii_hexdigit()).count() != size {
            return None;
        }
        at += size;
    }
    let address = &bytes[start..at];
    let goes_on = bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        || bytes.get(at) == Some(&separator) && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
    // None and all: what programs write for no address.
    let hex = || address.iter().filter(|byte| byte.is_ascii_hexdigit()).map(u8::to_ascii_lowercase);
    let nobody = hex().all(|byte| byte == b'0') || hex().all(|byte| byte == b'f');
    // Three fours of digits alone are more likely a number.
    let number = separator == b'.' && hex().all(|byte| byte.is_ascii_digit());
    (!goes_on && !nobody && !number).then_some(at)
}

/// One way to write an address for all its spellings.
pub(crate) fn normal(written: &str) -> String {
    let address = written.split('%').next().unwrap_or(written);
    address.parse::<IpAddr>().map_or_else(|_| written.to_ascii_lowercase(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Option<(&str, Reach)> {
        let colon = text.find(':')?;
        ipv6(text, colon).map(|(start, end, reach)| (&text[start..end], reach))
    }

    #[test]
    fn version_four() {
        for (text, reach) in [
            ("8.8.8.8", Reach::Public),
            ("86.121.97.248,", Reach::Public),
            ("10.0.0.1", Reach::Private),
            ("192.168.1.254.", Reach::Private),
            ("127.0.0.1:80", Reach::Nobody),
            ("192.0.2.7", Reach::Documentation),
            ("255.255.255.0", Reach::Nobody),
            ("172.32.0.1/24", Reach::Public),
            ("0.0.0.0", Reach::Nobody),
        ] {
            assert_eq!(ipv4(text.as_bytes(), 0).map(|(_, reach)| reach), Some(reach), "{text}");
        }
        for text in
            ["1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.04", "1.2.3.4a", "1.2.3.4-rc", "1..2.3", "1.2.3.4444", ""]
        {
            assert_eq!(ipv4(text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn version_six() {
        for (text, found, reach) in [
            ("2606:4700:4700::1111", "2606:4700:4700::1111", Reach::Public),
            ("at 2a00:1450:4001:81b::200e.", "2a00:1450:4001:81b::200e", Reach::Public),
            ("[fe80::1ff:fe23:4567:890a%eth2]", "fe80::1ff:fe23:4567:890a%eth2", Reach::Private),
            ("::1", "::1", Reach::Nobody),
            ("2001:db8::8a2e:370:7334", "2001:db8::8a2e:370:7334", Reach::Documentation),
            ("::ffff:8.8.4.4", "::ffff:8.8.4.4", Reach::Public),
            ("fd12:3456:789a:1::1", "fd12:3456:789a:1::1", Reach::Private),
        ] {
            assert_eq!(v6(text), Some((found, reach)), "{text}");
        }
        for text in [
            "12:30:45",
            "a::b",
            "std::vec",
            "::",
            "1:2:3:4:5:6:7:8:9",
            "dead::beef",
            "1::2::3",
            "aa:bb:cc:dd:ee:ff",
            "a1::b2",
        ] {
            assert_eq!(v6(text), None, "{text}");
        }
    }

    #[test]
    fn hardware() {
        for text in ["00:1A:2b:3c:4d:5e", "aa-bb-cc-dd-ee-ff.", "001a.2b3c.4d5e"] {
            assert!(mac(text.as_bytes(), 0).is_some(), "{text}");
        }
        for text in [
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "00:1A:2b:3c:4d",
            "00:1A:2b:3c:4d:5e:6f",
            "00:1A:2b:3c:4d:5g",
            "00:1A-2b:3c:4d:5e",
            "1234.5678.9012",
            "0:1:2:3:4:5",
        ] {
            assert!(mac(text.as_bytes(), 0).is_none(), "{text}");
        }
    }
}
