//! Compiles the .proto files without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=exchange");
    let files =
        ["ingest", "exchange", "delivery", "batch", "keys"].map(|name| format!("exchange/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    // Bodies are shared slices of what arrived, not copies.
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Codec").compile_fds(descriptors)?;
    Ok(())
}
