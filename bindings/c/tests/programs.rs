//! A C and a C++ program on the shared and on the static library, also under valgrind and with
//! AddressSanitizer where they can be had.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

// Cargo builds a library for a test that names it.
use dyrelu_c as _;

use dyrelu::{Model, Session, Tensor};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// What a program on Linux needs besides the static library.
const SYSTEM_LIBRARIES: [&str; 4] = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];

fn network() -> PathBuf {
    Path::new(FOLDER).join("../../tests/dialects/interleaved-B-k1-script-free.onnx")
}

/// The folder of the libraries, in which Cargo has built them for these tests.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    assert!(folder.join("libdyrelu_c.a").exists(), "no library in {}", folder.display());
    folder.to_path_buf()
}

fn is_there(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Compiles a program and links it to the static library or to the shared one. Returns `None`, with a word,
/// if there is no compiler.
fn compile(source: &str, to: &Path, is_static: bool, flags: &[&str]) -> Option<PathBuf> {
    let (compiler, standard) =
        if source.ends_with(".cpp") { ("c++", "-std=c++11") } else { ("cc", "-std=c99") };
    if !cfg!(unix) || !is_there(compiler) {
        eprintln!("skipped: there is no {compiler}");
        return None;
    }
    let program = to.join(if is_static { "static" } else { "shared" });
    let mut command = Command::new(compiler);
    command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-g"]).args(flags);
    command.arg("-I").arg(Path::new(FOLDER).join("include"));
    command.arg(Path::new(FOLDER).join("tests").join(source)).arg("-o").arg(&program);
    let libraries = libraries();
    if is_static {
        command.arg(libraries.join("libdyrelu_c.a")).args(SYSTEM_LIBRARIES);
    } else {
        let path = format!("-Wl,-rpath,{}", libraries.display());
        command.arg("-L").arg(&libraries).arg(path).args(["-ldyrelu_c", "-lpthread"]);
    }
    succeeds(&mut command);
    Some(program)
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{command:?}\n{}{err}", String::from_utf8_lossy(&out));
    String::from_utf8(out).unwrap()
}

/// What the engine gives for the input of `program.c`.
fn expected() -> Vec<u8> {
    let model = Model::open(network()).unwrap();
    let sizes = model.inputs()[0].shape().unwrap().into_iter().enumerate();
    let shape: Vec<usize> =
        sizes.map(|(axis, size)| size.unwrap_or(if axis == 0 { 2 } else { 9 })).collect();
    let images = (0..shape.iter().product()).map(|i| (i * 37 % 251) as f32).collect();
    let scores = Session::new(&model).run(&[Tensor::new(&shape, images).unwrap()]).unwrap();
    scores[0].bytes().to_vec()
}

#[test]
fn a_c_program_gets_the_bits_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    for is_static in [false, true] {
        let Some(program) = compile("program.c", folder.path(), is_static, &[]) else { return };
        let scores = folder.path().join("scores");
        succeeds(Command::new(program).arg(network()).arg(&scores));
        assert!(std::fs::read(&scores).unwrap() == expected());
    }
}

#[test]
fn a_cpp_program_shares_a_model_between_threads() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile("program.cpp", folder.path(), false, &[]) else { return };
    let said = succeeds(Command::new(program).arg(network()));
    assert_eq!(said, format!("dyrelu {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if !is_there("valgrind") {
        return eprintln!("skipped: there is no valgrind");
    }
    let folder = tempfile::tempdir().unwrap();
    for (source, arguments) in [("program.c", &["scores"][..]), ("program.cpp", &[])] {
        let Some(program) = compile(source, folder.path(), false, &[]) else { return };
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        command.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        command.arg(program).arg(network()).args(arguments).current_dir(folder.path());
        // valgrind does not know AVX-512.
        succeeds(command.env("DYRELU_ISA", "portable"));
    }
}

#[test]
fn address_sanitizer_finds_no_error_and_no_leak() {
    let folder = tempfile::tempdir().unwrap();
    let sanitized = ["-fsanitize=address", "-fno-omit-frame-pointer"];
    let empty = folder.path().join("empty.c");
    std::fs::write(&empty, "int main(void) { return 0; }\n").unwrap();
    let mut links = Command::new("cc");
    links.args(sanitized).arg(&empty).arg("-o").arg(empty.with_extension(""));
    if !links.status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: there is no compiler with AddressSanitizer");
    }
    for (source, arguments) in [("program.c", &["scores"][..]), ("program.cpp", &[])] {
        let Some(program) = compile(source, folder.path(), false, &sanitized) else { return };
        succeeds(Command::new(program).arg(network()).args(arguments).current_dir(folder.path()));
    }
}

#[test]
fn the_shared_library_exports_what_the_header_declares() {
    if !cfg!(target_os = "linux") || !is_there("nm") {
        return eprintln!("skipped: there is no nm");
    }
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--defined-only", "--format=posix"]);
    let listed = succeeds(nm.arg(libraries().join("libdyrelu_c.so")));
    let mut exported: Vec<_> =
        listed.lines().filter_map(|line| line.split(['@', ' ']).next()).collect();
    exported.sort_unstable();
    let header = std::fs::read_to_string(Path::new(FOLDER).join("include/dyrelu.h")).unwrap();
    let mut declared: Vec<_> = header
        .lines()
        .filter(|line| !line.starts_with([' ', '}']))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .collect();
    declared.sort_unstable();
    assert_eq!(exported, declared);
}
