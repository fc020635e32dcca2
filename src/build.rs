//! Builds anew when the page was built, also when it was not there before.

fn main() {
    println!("cargo:rerun-if-changed=console/dist");
}
