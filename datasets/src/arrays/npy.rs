//! The header of a `.npy` file.
//!
//! NumPy's format, versions 1 to 3: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! The header is a Python dictionary of three entries. Only these are read: a reader of all Python literals would
//! recurse as deep as a file asks.

use std::io::Read;

const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// Longer headers are refused. NumPy writes 128 bytes for plain numbers.
const LONGEST: usize = 1 << 16;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The number type, as NumPy describes it.
    pub(super) description: String,
    /// Whether the first dimension runs fastest.
    pub(super) fortran: bool,
    pub(super) dims: Vec<usize>,
    /// Where the numbers begin, in bytes.
    pub(super) length: u64,
}

/// Reads a header from the beginning of a file; what is wrong with it.
pub(super) fn read(reader: &mut dyn Read) -> Result<Header, String> {
    let mut exact = |bytes: &mut [u8]| {
        reader
            .read_exact(bytes)
            .map_err(|error| format!("header: {error}"))
    };
    let mut start = [0; 8];
    exact(&mut start)?;
    if start[..6] != MAGIC {
        return Err("its first bytes are not NumPy's".to_owned());
    }
    let (length, fixed) = match start[6] {
        1 => {
            let mut length = [0; 2];
            exact(&mut length)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            exact(&mut length)?;
            let length = u32::from_le_bytes(length);
            (usize::try_from(length).unwrap_or(usize::MAX), 12)
        }
        version => return Err(format!("version {version} of the format")),
    };
    if length > LONGEST {
        return Err(format!("header of {length} bytes, more than {LONGEST}"));
    }
    let mut text = vec![0; length];
    exact(&mut text)?;
    let text = str::from_utf8(&text).map_err(|error| format!("header: {error}"))?;
    let (description, fortran, dims) = dictionary(text)?;
    Ok(Header {
        description,
        fortran,
        dims,
        length: (fixed + length) as u64,
    })
}

fn dictionary(text: &str) -> Result<(String, bool, Vec<usize>), String> {
    let mut rest = Rest(text);
    let (mut description, mut fortran, mut dims) = (None, None, None);
    rest.expect("{")?;
    while !rest.eat("}") {
        let key = rest.string()?;
        rest.expect(":")?;
        let again = match key {
            "descr" => description.replace(rest.description()?).is_some(),
            "fortran_order" => fortran.replace(rest.truth()?).is_some(),
            "shape" => dims.replace(rest.tuple()?).is_some(),
            _ => return Err(format!("header: unknown entry `{key}`")),
        };
        if again {
            return Err(format!("header: two entries `{key}`"));
        }
        if !rest.eat(",") {
            rest.expect("}")?;
            break;
        }
    }
    if !rest.0.trim().is_empty() {
        return Err("header: something follows the dictionary".to_owned());
    }
    match (description, fortran, dims) {
        (Some(description), Some(fortran), Some(dims)) => Ok((description, fortran, dims)),
        _ => Err("header: not all of `descr`, `fortran_order` and `shape`".to_owned()),
    }
}

/// What is left to be read of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) {
            Ok(())
        } else {
            let found: String = self.0.chars().take(10).collect();
            Err(format!("header: `{found}` in the place of `{token}`"))
        }
    }

    /// What `until` ends; that is read too.
    fn before(&mut self, until: char) -> Result<&'a str, String> {
        let (before, after) = self
            .0
            .split_once(until)
            .ok_or_else(|| format!("header: no `{until}`"))?;
        self.0 = after;
        Ok(before)
    }

    fn string(&mut self) -> Result<&'a str, String> {
        if self.eat("'") {
            self.before('\'')
        } else {
            self.expect("\"")?;
            self.before('"')
        }
    }

    /// A number type: a string, or a list for records, of which the text is kept for a message.
    fn description(&mut self) -> Result<String, String> {
        if self.eat("[") {
            Err("an array of records".to_owned())
        } else {
            self.string().map(str::to_owned)
        }
    }

    fn truth(&mut self) -> Result<bool, String> {
        if self.eat("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    /// `(512, 3)`, `(512,)` or `()`. Python 2 wrote `512L`.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let inside = self.before(')')?.trim();
        let inside = inside.strip_suffix(',').unwrap_or(inside);
        if inside.is_empty() {
            return Ok(Vec::new());
        }
        inside
            .split(',')
            .map(|number| {
                let digits = number.trim().trim_end_matches('L');
                digits
                    .parse()
                    .map_err(|_| format!("header: `{number}` in the place of a number"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_is_read_in_any_order_and_nothing_else_is() {
        let read = |text| dictionary(text);
        let all = (String::from("<f4"), false, vec![5, 3]);
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }   \n",
            "{\"shape\":(5L,3L,),\"fortran_order\":False,\"descr\":\"<f4\"}",
        ] {
            assert_eq!(read(text), Ok(all.clone()));
        }
        let scalar = "{'descr': '|u1', 'fortran_order': True, 'shape': ()}";
        assert_eq!(read(scalar), Ok(("|u1".into(), true, vec![])));
        for (text, says) in [
            ("", "in the place of `{`"),
            ("{'descr': '<f4', 'fortran_order': False}", "not all of"),
            ("{'descr': '<f4', 'descr': '<f4'}", "two entries `descr`"),
            ("{'what': 1}", "unknown entry `what`"),
            ("{'shape': (5, -3)}", "` -3` in the place of a number"),
            ("{'shape': (5,,3)}", "in the place of a number"),
            (
                "{'shape': (99999999999999999999,)}",
                "in the place of a number",
            ),
            ("{'shape': (5", "no `)`"),
            ("{'descr': [('a', '<f4')]}", "records"),
            ("{'fortran_order': 0}", "in the place of `False`"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
                "follows",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn header_lengths_are_believed_within_limits_only() {
        for (bytes, says) in [
            (&b"\x93NUMPY\x02\0\xff\xff\xff\xff"[..], "more than 65536"),
            (&b"\x93NUMPY\x01\0\xff\xff{"[..], "header: failed to fill"),
            (&b"\x93NUMPY\x04\0\0\0"[..], "version 4"),
            (&b"NUMPY\x01\0\0\0\0"[..], "not NumPy's"),
        ] {
            let error = read(&mut &bytes[..]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
