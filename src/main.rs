//! The `timeback-events` command: see `timeback-events --help`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    timeback_events::cli::main()
}
