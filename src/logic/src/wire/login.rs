//! Who we are to a server, as a secret file says it: `USER:PASSWORD` or `PASSWORD`, in one line.

use core::fmt;

/// What is longer is no password.
pub const MAX_SECRET: usize = 4096;

#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: Option<String>,
    pub password: String,
}

impl Login {
    /// A password with a colon in it needs a user, or a colon, before it.
    pub fn parse(secret: &[u8]) -> Result<Login, &'static str> {
        if secret.len() > MAX_SECRET {
            return Err("longer than 4096 bytes");
        }
        let text = core::str::from_utf8(secret).map_err(|_| "not UTF-8")?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (user, password) = match line.split_once(':') {
            Some((user, password)) => (Some(user).filter(|user| !user.is_empty()), password),
            None => (None, line),
        };
        match password {
            "" => Err("no password"),
            _ if line.contains(['\n', '\r', '\0']) => Err("more than one line"),
            _ => Ok(Login { user: user.map(str::to_string), password: password.to_string() }),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_password_with_or_without_a_user() {
        for (secret, user, password) in [
            ("pw", None, "pw"),
            ("pw\n", None, "pw"),
            ("pw\r\n", None, "pw"),
            ("app:pw\n", Some("app"), "pw"),
            (":p:w", None, "p:w"),
            ("app:p:w ", Some("app"), "p:w "),
        ] {
            let login = Login::parse(secret.as_bytes()).unwrap();
            assert_eq!((login.user.as_deref(), &*login.password), (user, password), "{secret:?}");
        }
        for secret in ["", "\n", "app:", "a\nb", "a\n\n", "a\0"] {
            assert!(Login::parse(secret.as_bytes()).is_err(), "{secret:?}");
        }
        assert!(Login::parse(&[0xff]).is_err());
        assert!(Login::parse(&[b'x'; MAX_SECRET + 1]).is_err());
        assert!(!format!("{:?}", Login::parse(b"app:hidden")).contains("hidden"));
    }
}
