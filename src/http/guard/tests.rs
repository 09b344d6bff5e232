use super::*;

fn door(listen: &str, hosts: &[&str], origins: &[&str]) -> Door {
    let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let web = Web {
        cors_origins: own(origins),
        allowed_hosts: own(hosts),
    };
    Door::new(
        &web,
        &Listen {
            host: listen.to_owned(),
            port: 3001,
        },
    )
}

fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri("/servers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// What happens: a status, and who may read.
fn outcome(door: &Door, method: &str, headers: &[(&str, &str)]) -> (u16, Option<String>) {
    let text = |value: &HeaderValue| value.to_str().expect("ASCII").to_owned();
    match door.judge(&request(method, headers)) {
        Verdict::Pass(cors) => (200, cors.allow.as_ref().map(text)),
        Verdict::Refuse(problem) => (problem.status.as_u16(), None),
        Verdict::Preflight(response) => {
            let allow = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            (response.status().as_u16(), allow.map(text))
        }
    }
}

#[test]
fn only_names_of_this_hub_come_in() {
    let narrow = door("127.0.0.1", &["hub.example", "other.example:8443"], &[]);
    let wide = door("0.0.0.0", &[], &[]);
    let named = door("hub.lan", &[], &[]);
    let table = [
        (&narrow, "localhost", 200),
        (&narrow, "LOCALHOST:3001", 200),
        (&narrow, "app.localhost:9", 200),
        (&narrow, "127.0.0.1:3001", 200),
        (&narrow, "127.9.9.9", 200),
        (&narrow, "[::1]:3001", 200),
        (&narrow, "[::ffff:127.0.0.1]", 200),
        (&narrow, "hub.example", 200),
        (&narrow, "Hub.Example.:99", 200),
        (&narrow, "other.example:8443", 200),
        (&narrow, "other.example", 403),
        (&narrow, "other.example:1", 403),
        (&narrow, "evil.example", 403),
        (&narrow, "notlocalhost", 403),
        (&narrow, "localhost.evil.example", 403),
        (&narrow, "127.0.0.1.evil.example", 403),
        (&narrow, "192.168.1.5:3001", 403),
        (&narrow, "evil@localhost", 403),
        (&narrow, "localhost:x", 403),
        (&narrow, "[::1", 403),
        (&narrow, "[", 403),
        (&narrow, "", 403),
        (&wide, "192.168.1.5:3001", 200),
        (&wide, "[fe80::1]:3001", 200),
        (&wide, "evil.example", 403),
        (&named, "hub.lan:3001", 200),
    ];
    for (door, host, status) in table {
        assert_eq!(
            outcome(door, "GET", &[("host", host)]).0,
            status,
            "{host:?}"
        );
    }
    assert_eq!(outcome(&narrow, "GET", &[]).0, 400, "HTTP/1.1 needs a Host");
    assert_eq!(
        outcome(
            &narrow,
            "GET",
            &[("host", "localhost"), ("host", "localhost")]
        )
        .0,
        400
    );
}

#[test]
fn a_target_that_names_another_host_stays_outside() {
    let mut request = request("GET", &[("host", "localhost")]);
    *request.uri_mut() = "http://evil.example/servers".parse().expect("a URI");
    let refused = matches!(
        door("127.0.0.1", &[], &[]).judge(&request),
        Verdict::Refuse(_)
    );
    assert!(refused);
}

#[test]
fn pages_elsewhere_neither_drive_nor_read() {
    let closed = door("127.0.0.1", &[], &[]);
    let listed = door("127.0.0.1", &[], &["https://board.example"]);
    let open = door("127.0.0.1", &[], &["*"]);
    let both = door("127.0.0.1", &[], &["*", "https://board.example"]);
    let (board, evil, own) = (
        "https://board.example",
        "https://evil.example",
        "http://localhost:3001",
    );
    let table = [
        (&closed, "GET", evil, 200, None),
        (&closed, "POST", evil, 403, None),
        (&closed, "DELETE", "null", 403, None),
        (&closed, "POST", own, 200, None),
        (&closed, "POST", "https://localhost:3001", 200, None),
        (&closed, "POST", "http://localhost:3002", 403, None),
        (&listed, "GET", board, 200, Some(board)),
        (&listed, "POST", board, 200, Some(board)),
        (&listed, "PUT", evil, 403, None),
        (&listed, "GET", evil, 200, None),
        (&open, "GET", evil, 200, Some("*")),
        (&open, "POST", evil, 403, None),
        (&open, "POST", own, 200, Some("*")),
        (&both, "POST", board, 200, Some(board)),
        (&both, "GET", evil, 200, Some("*")),
    ];
    for (door, method, origin, status, allow) in table {
        let found = outcome(
            door,
            method,
            &[("host", "localhost:3001"), ("origin", origin)],
        );
        assert_eq!(
            found,
            (status, allow.map(str::to_owned)),
            "{method} from {origin}"
        );
    }
}

#[test]
fn preflights_open_what_the_request_may_do() {
    let listed = door("127.0.0.1", &[], &["https://board.example"]);
    let open = door("127.0.0.1", &[], &["*"]);
    let table = [
        (
            &listed,
            "https://board.example",
            "POST",
            204,
            Some("https://board.example"),
        ),
        (&listed, "https://evil.example", "POST", 403, None),
        (&listed, "https://evil.example", "GET", 204, None),
        (&open, "https://evil.example", "GET", 204, Some("*")),
        (&open, "https://evil.example", "DELETE", 403, None),
    ];
    for (door, origin, method, status, allow) in table {
        let headers = [
            ("host", "localhost"),
            ("origin", origin),
            ("access-control-request-method", method),
        ];
        let found = outcome(door, "OPTIONS", &headers);
        assert_eq!(
            found,
            (status, allow.map(str::to_owned)),
            "{method} from {origin}"
        );
    }
}

#[test]
fn default_ports_are_the_same_origin() {
    assert!(is_own_origin("http://hub.example", "hub.example:80", false));
    assert!(is_own_origin(
        "https://hub.example",
        "Hub.Example:443",
        false
    ));
    assert!(is_own_origin("https://hub.example", "hub.example", true));
    assert!(!is_own_origin("http://hub.example", "hub.example", true));
    assert!(!is_own_origin(
        "http://hub.example",
        "hub.example:443",
        false
    ));
    assert!(!is_own_origin("ftp://hub.example", "hub.example", false));
}
