//! The `lua_socket_*` values of a location.

use core::time::Duration;

/// What a location says; what it leaves open is inherited, and last of all the default.
#[derive(Clone, Default)]
pub struct Settings {
    pub connect_timeout: Option<Duration>,
    pub send_timeout: Option<Duration>,
    pub read_timeout: Option<Duration>,
    pub keepalive_timeout: Option<Duration>,
    pub buffer_size: Option<usize>,
    pub pool_size: Option<usize>,
    pub log_errors: Option<bool>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Settings {
    pub fn merge(&mut self, above: &Settings) {
        self.connect_timeout = self.connect_timeout.or(above.connect_timeout);
        self.send_timeout = self.send_timeout.or(above.send_timeout);
        self.read_timeout = self.read_timeout.or(above.read_timeout);
        self.keepalive_timeout = self.keepalive_timeout.or(above.keepalive_timeout);
        self.buffer_size = self.buffer_size.or(above.buffer_size);
        self.pool_size = self.pool_size.or(above.pool_size);
        self.log_errors = self.log_errors.or(above.log_errors);
    }

    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(MINUTE)
    }

    pub fn send_timeout(&self) -> Duration {
        self.send_timeout.unwrap_or(MINUTE)
    }

    pub fn read_timeout(&self) -> Duration {
        self.read_timeout.unwrap_or(MINUTE)
    }

    pub fn keepalive_timeout(&self) -> Duration {
        self.keepalive_timeout.unwrap_or(MINUTE)
    }

    /// How much is read at a time.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size.unwrap_or(4096)
    }

    /// How many connections a pool keeps.
    pub fn pool_size(&self) -> usize {
        self.pool_size.unwrap_or(30)
    }

    pub fn log_errors(&self) -> bool {
        self.log_errors.unwrap_or(true)
    }
}
