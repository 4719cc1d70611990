//! Requests, as [`super::remote`] makes them: whoever sends them follows redirects, unpacks what is compressed, and says
//! when nobody answers.

use std::collections::HashMap;

use super::{Attempt, Body};

/// Who sends requests: the browser, or a stand-in of tests.
pub trait Http {
    /// The bytes of an answer, as they come.
    type Body: Body;

    /// Sends a request with no header of our own but `Range`, so that none needs a CORS preflight. The error says that
    /// there is no answer.
    fn send(
        &self,
        method: &str,
        url: &str,
        range: Option<&str>,
    ) -> impl Future<Output = Attempt<HttpResponse<Self::Body>>>;

    /// Waits, between two attempts.
    fn wait(&self, milliseconds: f64) -> impl Future<Output = ()>;

    /// Gives other tasks their turn, in the middle of work that waits for nothing.
    fn turn(&self) -> impl Future<Output = ()>;

    /// Milliseconds since the beginning of 1970.
    fn now(&self) -> f64;

    /// Bytes of memory that the program holds; 0 where that cannot be told.
    fn memory(&self) -> f64 {
        0.0
    }
}

/// An answer; who drops its body ends the request.
pub struct HttpResponse<B> {
    /// The status of HTTP.
    pub status: u16,
    /// Where it came from, redirects followed.
    pub url: String,
    /// Whether that is another address than was asked for.
    pub redirected: bool,
    /// Those that may be read: a server hides most from pages of another origin. By name, in lower case.
    pub headers: HashMap<String, String>,
    /// Its bytes, as they come.
    pub body: B,
}

impl<B> HttpResponse<B> {
    /// A header, where it is there and may be read.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}
