//! What stands in for handshakes with scripts in an nginx whose servers do not speak TLS: there are none, so that nothing
//! is ever asked of one.

use core::convert::Infallible;

use super::{Chain, Key};
use crate::conf::LocConf;
use crate::ngx::conf::{Cf, ConfError};
use crate::ngx::Request;

type Result<T = ()> = core::result::Result<T, &'static str>;

const ABSENT: &str = "this nginx was built without TLS for servers";

pub struct Handshake(Infallible);
pub struct Connection(Infallible);
pub struct Responder;

#[derive(Default)]
pub struct Handshakes;

#[derive(Clone, Copy)]
pub enum Random {
    Client,
    Server,
    MasterKey,
}

impl Handshakes {
    pub fn end(&self) {}
}

impl Handshake {
    pub fn connection(&self) -> Connection {
        match self.0 {}
    }

    pub fn describe_ends(&self, _: &mut Vec<u8>) {
        match self.0 {}
    }

    pub fn session_id(&self, _: &mut Vec<u8>) -> Result {
        match self.0 {}
    }

    pub fn write_session(&self, _: &mut Vec<u8>) -> Result {
        match self.0 {}
    }

    pub fn found_session(&self, _: &[u8]) -> Result {
        match self.0 {}
    }

    pub fn verify_result(&self) -> Option<i32> {
        match self.0 {}
    }

    pub fn set_verify_result(&self, _: i32) {
        match self.0 {}
    }

    pub fn server_certificate(&self) -> Option<usize> {
        match self.0 {}
    }
}

impl Connection {
    pub fn address_of_ssl(&self) -> usize {
        match self.0 {}
    }

    pub fn clear_certificates(&self) {
        match self.0 {}
    }

    pub fn show(&self, _: &Chain) -> Result {
        match self.0 {}
    }

    pub fn prove_by(&self, _: &Key) -> Result {
        match self.0 {}
    }

    pub fn address(&self, _: bool) -> Result<(&[u8], i32)> {
        match self.0 {}
    }

    pub fn port(&self) -> Result<u16> {
        match self.0 {}
    }

    pub fn server_name(&self) -> Option<&[u8]> {
        match self.0 {}
    }

    pub fn version(&self) -> i32 {
        match self.0 {}
    }

    pub fn random(&self, _: Random, _: &mut [u8]) -> usize {
        match self.0 {}
    }

    pub fn export(&self, _: bool, _: &[u8], _: Option<&[u8]>, _: &mut [u8]) -> bool {
        match self.0 {}
    }

    pub fn verify_client(&self, _: Option<&Chain>, _: Option<&Chain>, _: Option<i32>) -> Result {
        match self.0 {}
    }

    pub fn set_protocols(&self, _: u32) {
        match self.0 {}
    }

    pub fn shared_ciphers(&self, _: &mut Vec<u16>) -> Result {
        match self.0 {}
    }

    pub fn staple(&self, _: &[u8]) -> Result<bool> {
        match self.0 {}
    }

    pub fn hello_extension(&self, _: u32) -> Option<&[u8]> {
        match self.0 {}
    }

    pub fn hello_server_name(&self) -> Result<Option<&[u8]>> {
        match self.0 {}
    }

    pub fn hello_extensions(&self, _: &mut Vec<u16>) -> bool {
        match self.0 {}
    }

    pub fn hello_ciphers(&self, _: &mut Vec<u16>) {
        match self.0 {}
    }
}

impl Responder {
    pub fn of_chain(_: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Err(ABSENT)
    }

    pub fn question(_: &[u8], _: &mut Vec<u8>) -> Result {
        Err(ABSENT)
    }

    pub fn validate(_: &[u8], _: &[u8]) -> Result<Option<i64>> {
        Err(ABSENT)
    }
}

impl Request {
    pub fn tls(&self) -> Option<Connection> {
        None
    }

    pub fn upstream_tls(&self) -> Option<Connection> {
        None
    }

    pub fn handshake_table(&self) -> i32 {
        0
    }
}

// The directives are refused where they stand, so that there is nothing to be done for them.
impl Cf {
    pub fn script_handshakes(&mut self) -> core::result::Result<(), ConfError> {
        Ok(())
    }

    pub fn script_upstream(&mut self, _: &LocConf) -> core::result::Result<(), ConfError> {
        Ok(())
    }
}
