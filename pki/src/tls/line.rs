//! The TCP connection below TLS.

use std::io;

use tokio::io::BufReader;
use tokio::net::TcpStream;

/// Octets that one call of the system brings at most; each connection has room for as many. rustls by itself asks for
/// 4 KiB at a time, a quarter of a record.
const READ: usize = 32 * 1024;

/// A connection that is read in wide pieces and written at once.
pub type Line = BufReader<TcpStream>;

/// Makes a connection ready for TLS.
pub fn line(connection: TcpStream) -> io::Result<Line> {
    // Whole calls are written, so there is nothing to wait for.
    connection.set_nodelay(true)?;
    Ok(BufReader::with_capacity(READ, connection))
}
