//! `dyrelu explain`: the files that it writes, and what it refuses.

use super::hostile::refuses;
use super::*;

/// A network with dynamic activations of form C.
const NETWORK: &str = "mobilenetv2-x0.35-dyrelu-c-imagenette";

#[test]
fn the_page_and_the_tables_have_every_activation() {
    let fixture = Fixture::new();
    let out = fixture.path("out");
    let mut command = dyrelu(&["explain", NETWORK, "--threads", "1", "--out"]);
    let photos = ["examples/photos/church.jpg", "examples/photos/tower.jpg"];
    let run = command.arg(&out).args(photos).assert().success();
    let text = stdout(&run);
    assert!(text.contains("dynamic activations over 2 photos"), "{text}");
    let table = fs::read_to_string(out.join("activations.csv")).unwrap();
    let count = table.lines().count() - 1;
    assert!(text.contains(&format!("{count} dynamic activations")), "{text}");
    let coefficients = fs::read_to_string(out.join("coefficients.csv")).unwrap();
    assert_eq!(coefficients.lines().count() - 1, 4 * count);
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    // A chart for slopes, coefficients, deviations and attention, a histogram per activation, and per
    // photo its picture, the distance from the mean photo, the coefficients and the attentions.
    assert_eq!(page.matches("<svg").count(), 4 + count + 2 * (2 + 2 * count));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    // Each attention lies over its photo.
    for photo in ["photo-1", "photo-2"] {
        assert_eq!(page.matches(&format!("<image id=\"{photo}\"")).count(), 1);
        assert_eq!(page.matches(&format!("href=\"#{photo}\"")).count(), count);
    }
    // The only address is the name of SVG's language.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn static_activations_can_be_frozen() {
    let fixture = Fixture::new();
    let (out, frozen) = (fixture.path("out"), fixture.path("frozen.safetensors"));
    let mut command = dyrelu(&["explain", NETWORK, "--tolerance", "10", "--freeze"]);
    let photos = ["examples/photos/church.jpg", "examples/photos/tower.jpg"];
    let run = command.arg(&frozen).arg("--out").arg(&out).args(photos).assert().success();
    let text = stdout(&run);
    assert!(text.contains("35 activations with constant coefficients"), "{text}");
    let inspected = stdout(&dyrelu(&["inspect"]).arg(&frozen).assert().success());
    assert!(inspected.contains("\n0 dynamic activations"), "{inspected}");
    let classify = ["classify", "--format", "csv", "--top", "1", photos[0], "--model"];
    let before = stdout(&dyrelu(&classify).arg(NETWORK).assert().success());
    let after = stdout(&dyrelu(&classify).arg(&frozen).assert().success());
    let class = |csv: &str| csv.lines().nth(1).map(|line| line.split(',').nth(2).map(String::from));
    assert_eq!(class(&before), class(&after), "{before}{after}");
}

#[test]
fn what_cannot_be_explained_is_refused_with_a_sentence() {
    let fixture = Fixture::new();
    let photo = fixture.photo("red.png", [255, 0, 0]);
    let out = fixture.path("out");
    let explain = |photo: &Path| {
        let mut command = dyrelu(&["explain"]);
        command.arg(fixture.path("colours.safetensors")).arg(photo).arg("--out").arg(&out);
        command
    };
    refuses(&mut explain(&photo), "the network has no dynamic activation to explain");
    let broken = fixture.file("broken.png", b"no photo");
    let mut command = dyrelu(&["explain", NETWORK]);
    let run = command.arg(&broken).arg("--out").arg(&out).assert().code(2);
    assert!(stderr(&run).contains("none of the photos could be used"), "{}", stderr(&run));
    assert!(!out.exists());
}
