// Follows a stream with one of the EventSource clients of npm: client.mjs NAME URL.
const [name, url] = process.argv.slice(2);
const [scenario, place] = (process.env.SCENARIO ?? "plain").split(/:(.*)/s);
const headers = scenario === "resume" ? { "Last-Event-ID": place } : {};
const events = ["stream_opened", "snapshot", "bookmark", "stream_gap", "stream_closing", "lesson.done"];
const say = (event, data) => console.log(JSON.stringify([event, data]));

function follow(source) {
  for (const event of events) source.addEventListener(event, (message) => say(event, message.data));
}

switch (name) {
  case "eventsource2": {
    const { default: EventSource } = await import("eventsource2");
    follow(new EventSource(url, { headers }));
    break;
  }
  case "eventsource3":
  case "eventsource4": {
    const { EventSource } = await import(name);
    const withHeaders = (input, init) => fetch(input, { ...init, headers: { ...headers, ...init.headers } });
    follow(new EventSource(url, { fetch: withHeaders }));
    break;
  }
  case "event-source-polyfill": {
    const { EventSourcePolyfill } = (await import("event-source-polyfill")).default;
    follow(new EventSourcePolyfill(url, { headers, heartbeatTimeout: 60_000 }));
    break;
  }
  case "fetch-event-source": {
    // It asks the page whether it is to be seen.
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    globalThis.window = globalThis;
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    const again = { onmessage: ({ event, data }) => say(event, data), onclose: () => { throw new Error("again"); } };
    await fetchEventSource(url, { headers, openWhenHidden: true, fetch, ...again });
    break;
  }
  default:
    throw new Error(`no client ${name}`);
}
