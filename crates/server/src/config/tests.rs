//! The configuration as an operator meets it: the defaults are as the file says, every key is
//! documented, layers go over each other in order, and a mistake is one line that says where.

use duly_engine::queue::Target;
use duly_engine::time::Span;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(text: &str) -> Result<Settings, BadConfig> {
    Settings::parse("duly.toml", text, &Environment::default(), &[])
}

fn mistake(text: &str) -> String {
    read(text).expect_err("it has a mistake").to_string()
}

/// The default file with every commented-out key switched on.
fn default_file_in_full() -> String {
    let mut is_example = false;
    let mut text = String::new();
    for line in DEFAULT_FILE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        is_example |= line.starts_with("# [");
        is_example &= line.starts_with('#');
        text.push_str(if is_example { bare.trim_start_matches('#') } else { line });
        text.push('\n');
    }
    text
}

#[test]
fn the_default_file_says_what_holds_without_a_file() {
    let default = format!("{:?}", Settings::default());
    assert_eq!(format!("{:?}", read(DEFAULT_FILE).expect("it is good")), default);
    assert_eq!(format!("{:?}", read("").expect("nothing is needed")), default);
}

#[test]
fn the_examples_in_the_default_file_are_good_and_hold_defaults() {
    let settings = read(&default_file_in_full()).expect("the examples are good");
    let queue = settings.queues.values().next().expect("a queue is declared");
    let expected = Policy {
        default_delay: Some(Span::from_mins(30)),
        target: Target::Sql { name: "cancel-order".to_owned(), batch: queue.target.batch() },
        rate: Some(100),
        ..Policy::default()
    };
    assert_eq!(*queue, expected);
    assert!(!settings.limits.auto_create_queues);
    assert_eq!(
        settings.databases["shop"],
        Database::Sqlite(PathBuf::from("/var/lib/shop/shop.db"))
    );
    assert_eq!(settings.sql["cancel-order"].steps.len(), 2);
    let command = &settings.exec["cancel-order"];
    let expected = ExecAction {
        argv: command.argv.clone(),
        env: command.env.clone(),
        cwd: PathBuf::from("/"),
        user: Some("www-data".to_owned()),
        group: Some("www-data".to_owned()),
        timeout: Span::from_secs(60),
        limits: ExecLimits {
            cpu_seconds: Some(30),
            memory_bytes: Some(256 << 20),
            files: Some(256),
            processes: Some(64),
        },
    };
    assert_eq!(*command, expected);
}

#[test]
fn every_key_is_in_the_default_file() {
    let full: toml::Table = default_file_in_full().parse().expect("it is TOML");
    let documented = |path: &str| {
        let mut parts = path.split('.');
        let first = full.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    };
    // An unknown field makes the parser name all the fields it knows.
    for (table, around) in [
        ("", ""),
        ("http", ""),
        ("redis", ""),
        ("links", ""),
        ("events", ""),
        ("clock", ""),
        ("journal", ""),
        ("log", ""),
        ("webhook", ""),
        ("databases", ".shop"),
        ("sql", ".cancel-order"),
        ("exec", ".cancel-order"),
        ("publish", ".lapses"),
        ("queues", ".orders"),
    ] {
        let header = if table.is_empty() { String::new() } else { format!("[{table}{around}]\n") };
        let message = mistake(&format!("{header}no-such-key = 1\n"));
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        assert!(!known.is_empty(), "{message}");
        for key in known {
            let path = format!("{table}{around}.{key}");
            let path = path.trim_start_matches('.');
            // Those that stand in another's place, or for nothing by themselves, are explained in words.
            let in_words = [
                "databases.shop.dsn_file",
                "databases.shop.ca_file",
                "links.secret_file",
                "redis.unix",
                "publish.lapses.ca_file",
                "publish.lapses.exchange",
                "publish.lapses.list",
                "publish.lapses.queue",
                "publish.lapses.routing_key",
                "publish.lapses.url_file",
            ]
            .contains(&path)
                && DEFAULT_FILE.contains(&format!("`{key}`"));
            assert!(documented(path).is_some() || in_words, "{path} is not in default.toml");
        }
    }
}

#[test]
fn the_environment_goes_over_the_file_and_flags_over_both() {
    let text = "data = '/file'\n[log]\nlevel = 'warn'\nformat = 'json'\n";
    let environment = environment(&[
        ("DULY_DATA", "/environment"),
        ("DULY_LOG_LEVEL", "debug"),
        ("DULY_CLOCK_MAX_DOWNTIME", "3600"),
        ("DULY_WEBHOOK_ALLOW_PRIVATE", "true"),
        ("DULY_JOURNAL_RESERVE", "5"),
        ("DULY_HTTP_LISTEN", ""),
    ]);
    let flags = [Flag { name: "--data", key: "data", value: "/flag".to_owned() }];
    let settings =
        Settings::parse("duly.toml", text, &environment, &flags).expect("all of it is good");
    assert_eq!(settings.data, PathBuf::from("/flag"));
    assert_eq!(settings.log, Log { format: LogFormat::Json, level: tracing::Level::DEBUG });
    assert_eq!(settings.limits.max_downtime, Span::from_hours(1));
    assert_eq!(settings.journal.reserve, 5);
    assert!(settings.webhook_allow_private);
    assert_eq!(settings.http, Settings::default().http);
}

#[test]
fn a_mistake_names_file_line_and_key() {
    let policy = "[queues.orders]\n";
    let cases = [
        ("daat = 'x'\n", "duly.toml:1: daat: unknown field `daat`"),
        ("\n[journal]\nsegment_size = \"64MB\"\n", "duly.toml:3: journal.segment_size: \"64MB\""),
        ("[journal]\nsegment_size = 1000\n", "duly.toml:2: journal.segment_size: is 1MiB"),
        ("[journal]\n# few\nreserve = 1\n", "duly.toml:3: journal.reserve: is 5 to 1024"),
        ("[http]\nlisten = \"all\"\n", "duly.toml:2: http.listen: \"all\" is not an address"),
        ("[http]\nlisten = \"0.0.0.0:7830\"\n", "duly.toml:2: http.listen: 0.0.0.0:7830 can be"),
        ("[redis]\nlisten = '[::]:7831'\n", "duly.toml:2: redis.listen: [::]:7831 can be"),
        ("[redis]\nunix = 'duly.sock'\n", "duly.toml:2: redis.unix: is an absolute path"),
        ("[redis]\nunix_mode = '999'\n", "duly.toml:2: redis.unix_mode: \"999\" is no permission"),
        ("[redis]\nconnections = 0\n", "duly.toml:2: redis.connections: is 1 to 100000"),
        ("[redis]\nidle = '1ms'\n", "duly.toml:2: redis.idle: is at least 1s"),
        ("[redis]\nidle = 'on'\n", "duly.toml:2: redis.idle: \"on\" is no"),
        ("[redis]\nscore = 'days'\n", "duly.toml:2: redis.score: "),
        ("[redis]\nqueues = { 'a:b' = 'c' }\n", "duly.toml:2: redis.queues: \"a:b\" never"),
        ("[redis]\nqueues = { a = 'c d' }\n", "duly.toml:2: redis.queues: \"c d\": "),
        ("[redis]\nqueues = { a = 'c', b = 'c' }\n", "duly.toml:2: redis.queues: two words"),
        ("[clock]\nmax_downtime = \"30\"\n", "duly.toml:2: clock.max_downtime: \"30\" has no unit"),
        ("[clock]\nsource = \"sundial\"\n", "duly.toml:2: clock.source: unknown variant `sundial`"),
        ("[log]\nlevel = 3\n", "duly.toml:2: log.level: "),
        ("data = 'x'\n[log\n", "duly.toml:2: "),
        ("data = 1\ndata = 2\n", "duly.toml:2: "),
        ("[databases.shop]\n", "duly.toml:1: databases.shop.dsn: is missing"),
        (
            "[databases.shop]\ndsn = \"sqlite://shop.db\"\n",
            "duly.toml:2: databases.shop.dsn: names",
        ),
        (
            "[databases.shop]\ndsn = \"oracle://a:b@c/d\"\n",
            "duly.toml:2: databases.shop.dsn: oracle://",
        ),
        ("[sql.x]\ndatabase = \"y\"\nsteps = []\n", "duly.toml:2: sql.x.database: there is no"),
        ("[sql.x]\nsteps = []\n", "duly.toml:1: sql.x: missing field `database`"),
        ("[exec.x]\nargv = [\"php\"]\n", "duly.toml:2: exec.x.argv: begins with the absolute path"),
        ("[exec.x]\nargv = \"/bin/true\"\n", "duly.toml:2: exec.x.argv: "),
        (
            "[exec.x]\nargv = [\"/bin/true\"]\ntimeout = \"10m\"\n",
            "duly.toml:3: exec.x.timeout: is 100ms to 9m",
        ),
        (
            "[exec.x]\nargv = [\"/bin/true\"]\nenv = { DULY_KEY = \"1\" }\n",
            "duly.toml:3: exec.x.env: sets DULY_KEY",
        ),
        (
            "[exec.x]\nargv = [\"/bin/true\"]\nlimits = { memory = \"1KiB\" }\n",
            "duly.toml:3: exec.x.limits: allow less than 16MiB",
        ),
        (
            "[queues.orders]\ntarget = { exec = { command = \"x\" } }\n",
            "duly.toml:2: queues.orders.target: there is no [exec.x]",
        ),
        ("[queues.'a b']\n", "duly.toml:1: queues.\"a b\": a queue name has"),
        (
            &format!("{policy}grace = \"soon\"\n"),
            "duly.toml:2: queues.orders.grace: \"soon\" is no duration",
        ),
        (
            &format!("{policy}target = {{ sql = \"x\" }}\n"),
            "duly.toml:2: queues.orders.target: there is no [sql.x]",
        ),
        (
            &format!("{policy}concurrency = 0\n"),
            "duly.toml:2: queues.orders.concurrency: is 1 to 1000",
        ),
        (
            "[queues.o.target.webhook]\nsecrets = []\nurl = \"x\"\n",
            "duly.toml:3: queues.o.target.webhook.url: ",
        ),
        ("data = \"${NOT_SET}\"\n", "duly.toml:1: data: the environment variable NOT_SET is not"),
        ("data = \"${NOT_CLOSED\"\n", "duly.toml:1: data: `${` is not closed"),
    ];
    for (text, expected) in cases {
        let message = mistake(text);
        assert!(
            message.starts_with(expected),
            "{text}\n  gave     {message}\n  expected {expected}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_mistake_outside_the_file_names_the_variable_or_the_flag() {
    let nowhere = Environment::default();
    let flag = |name, key, value: &str| [Flag { name, key, value: value.to_owned() }];
    let bad_flag = Settings::parse("duly.toml", "", &nowhere, &flag("--http", "http.listen", "x"));
    let message = bad_flag.expect_err("x is no address").to_string();
    assert!(message.starts_with("--http: http.listen: \"x\" is not an address"), "{message}");

    let bad_variable = environment(&[("DULY_LOG_LEVEL", "loud")]);
    let text = "[log]\nlevel = \"info\"\n";
    let message = Settings::parse("duly.toml", text, &bad_variable, &[])
        .expect_err("loud is no level")
        .to_string();
    assert!(message.starts_with("DULY_LOG_LEVEL: log.level: unknown variant `loud`"), "{message}");
}

#[test]
fn strings_take_in_the_environment() {
    let environment = environment(&[("SHOP_DB", "/srv/shop.db"), ("SHOP", "a")]);
    let text =
        "data = \"/x/${SHOP}/$${SHOP}/$5\"\n[databases.shop]\ndsn = \"sqlite://${SHOP_DB}\"\n";
    let settings = Settings::parse("duly.toml", text, &environment, &[]).expect("it is good");
    assert_eq!(settings.data, PathBuf::from("/x/a/${SHOP}/$5"));
    assert_eq!(settings.databases["shop"], Database::Sqlite(PathBuf::from("/srv/shop.db")));
}

#[test]
fn a_message_never_repeats_a_dsn() {
    let message = mistake("[databases.shop]\ndsn = \"mysql//duly:hunter2@db/shop\"\n");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing =
        Settings::load(Some(Path::new("/no/such/duly.toml")), &Environment::default(), &[]);
    let message = missing.expect_err("there is no such file").to_string();
    assert!(message.starts_with("/no/such/duly.toml: cannot read"), "{message}");
}

#[test]
fn only_addresses_of_this_machine_are_listened_on() {
    for listen in ["127.0.0.1:7830", "127.8.8.8:1", "[::1]:7830", "localhost:80", "off"] {
        assert!(read(&format!("http.listen = \"{listen}\"\n")).is_ok(), "{listen}");
    }
    for listen in ["0.0.0.0:7830", "192.168.0.7:7830", "[::]:7830", "example.com:80", "7830", ":80"]
    {
        assert!(read(&format!("http.listen = \"{listen}\"\n")).is_err(), "{listen}");
    }
}

#[test]
fn a_misspelt_variable_is_noticed() {
    let environment =
        environment(&[("DULY_DAAT", "x"), ("DULY_DATA", "y"), ("DULY_URL", "z"), ("HOME", "/")]);
    assert_eq!(unknown_variables(&environment), ["DULY_DAAT"]);
}

#[test]
fn secrets_of_links_come_from_the_file_or_from_beside_it_and_are_never_repeated() {
    const NEW: &str = "a new secret of 32 characters ok";
    let of = |text: &str| read(text).map(|settings| settings.links.secrets);
    let listed = of(&format!("[links]\nsecrets = ['{NEW}', '{NEW} old']"));
    assert_eq!(listed, Ok(vec![NEW.to_owned(), format!("{NEW} old")]));
    let file = std::env::temp_dir().join(format!("duly-secrets-{}", std::process::id()));
    std::fs::write(&file, format!("{NEW}\n\n  {NEW} old\n")).expect("there is room");
    let beside = of(&format!("[links]\nsecret_file = '{}'", file.display()));
    assert_eq!(beside, listed);
    std::fs::write(&file, "\n").expect("there is room");
    assert!(of(&format!("[links]\nsecret_file = '{}'", file.display())).is_err());
    drop(std::fs::remove_file(file));

    let short = mistake("[links]\nsecrets = ['hunter2']");
    assert!(short.starts_with("duly.toml:2: links.secrets: "), "{short}");
    assert!(!short.contains("hunter2"), "{short}");
    assert!(of("[links]\nsecrets = []").is_err());
    assert!(of(&format!("[links]\nsecrets = ['{NEW}']\nsecret_file = '/x'")).is_err());
    let settings = read(&format!("[links]\nsecrets = ['{NEW}']")).expect("it is good");
    assert!(!format!("{settings:?}").contains(NEW));
}

#[test]
fn links_alone_may_be_served_to_other_machines() {
    let public = read("[http]\npublic = '0.0.0.0:7832'").expect("it is good").public;
    assert_eq!(public, Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7832))));
    assert!(read("[http]\nlisten = '0.0.0.0:7830'").is_err());
    assert!(mistake("[http]\npublic = 'everywhere'").contains("http.public"));
    assert!(mistake("[http]\npublic_streams = 0").contains("http.public_streams"));
    assert!(mistake("[events]\nkeep = 5").contains("events.keep"));
    let url = |url: &str| read(&format!("[links]\npublic_url = '{url}'"));
    let kept = url("https://shop.example/duly/").expect("it is good").links.public_url;
    assert_eq!(kept.as_deref(), Some("https://shop.example/duly"));
    for bad in ["shop.example", "https://", "ftp://shop.example", "https://shop.example/?a"] {
        assert!(url(bad).is_err(), "{bad}");
    }
}
