# The long commands. The short ones are in README.md.

# Everything that a change must pass.
ci:
    .ci/run

# Every model at preemption bound 3: hours.
loom:
    cd loom-tests && RECTO_LOOM_BOUND=3 cargo test --release

# Whole stores under shuttle: 10 million schedules in all, hours. A schedule that fails is printed;
# RECTO_SHUTTLE_REPLAY=.. with the name of its test runs it alone; RECTO_SHUTTLE_SECONDS=.. stops.
shuttle seed="1":
    cd shuttle-tests && RECTO_SHUTTLE_SEED={{seed}} RECTO_SHUTTLE_SCHEDULES=1430000 cargo test --release

# One fuzz target (`cargo fuzz list` names them) for so many seconds. RECTO_FUZZ_MEMORY_MIB=.. sets
# what foreign bytes may cost beside twice their length: 64 unless told otherwise.
fuzz target seconds="600":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}} -timeout=5 -len_control=0 -max_len=2048

# Keeps of a target's corpus what covers something.
fuzz-minimize target:
    cargo +nightly fuzz cmin {{target}}

# The crash tests over the simulated disk and the kills of a child, with their figures.
crash:
    cargo test --release --test crash --test kill -- --nocapture

# Power cuts at length: so many images in all, over nine workloads.
crash-images images="5000000":
    RECTO_CRASH_IMAGES=$(({{images}} / 9)) cargo test --test crash -- --nocapture survive

# Histories of so many transactions in all, judged by our checker and by the crate adya.
histories transactions="100000000":
    RECTO_HISTORIES={{transactions}} cargo test --release --test histories -- --nocapture histories_are

# Children under load, killed and cut off, verified after each life; 72 hours unless told otherwise.
soak seconds="259200":
    cargo run --release --package recto-cli --features power-cuts -- torture --seconds {{seconds}}

# Power cuts of a real file system (ext4 or xfs), as root: 20,000 take about an hour.
power-cuts filesystem cuts="20000":
    cargo build --release --package recto-cli --features power-cuts
    tests/filesystems/power_cut.sh {{filesystem}} {{cuts}}

# Errors of system calls, so many lives of each kind.
inject lives="100":
    cargo build --release --package recto-cli --features power-cuts
    tests/filesystems/inject.sh {{lives}}

# The stress tests under AddressSanitizer. Frames and the map are what it is to watch.
asan:
    RUSTFLAGS=-Zsanitizer=address cargo +nightly test --test stress --target x86_64-unknown-linux-gnu

# The same under ThreadSanitizer, which cannot see into the precompiled std: advice, not a verdict.
# What it reports, and why that is none, stands in tests/README.md.
tsan:
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" TSAN_OPTIONS=exitcode=0 \
        cargo +nightly test --test stress --target x86_64-unknown-linux-gnu -- --test-threads=1

# The peers side by side.
[positional-arguments]
compare *arguments:
    cd benches/compare && cargo run --release -- "$@"

# What it costs a reader to get in, beside arc-swap's bare loads.
pin:
    cd benches/pin && cargo bench

# The CPU seconds of a release build of the core from nothing, and its direct dependencies.
build-cost:
    benches/build/cost

# Which cache lines a read writes that others share: none, or it fails; by valgrind.
stores:
    benches/instructions/stores

# What each room's own work costs, so that a regression shows where it is. One
# room: `just rooms --bench tree`.
[positional-arguments]
rooms *arguments:
    cd benches/rooms && cargo bench "$@"

# The instructions of a read, by callgrind: what got heavier.
instructions:
    benches/instructions/run

# The demonstration for a minute.
demo:
    cargo run --release --bin recto -- demo --seconds 60

# The tests with the published pointer behind a lock: what they find here is not arc-swap's.
pointer-lock:
    cargo test --package recto --locked --features pointer-lock
