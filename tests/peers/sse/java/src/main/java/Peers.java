import com.google.gson.Gson;
import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.MessageEvent;
import java.net.URI;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** Follows a stream with one of Java's SSE clients: Peers NAME URL. */
final class Peers {
  public static void main(String[] arguments) throws Exception {
    String[] scenario = System.getenv().getOrDefault("SCENARIO", "plain").split(":", 2);
    String place = scenario[0].equals("resume") ? scenario[1] : null;
    switch (arguments[0]) {
      case "launchdarkly" -> launchdarkly(arguments[1], place);
      case "okhttp-sse" -> okhttpSse(arguments[1], place);
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static void say(String event, String data) {
    System.out.println(new Gson().toJson(List.of(event == null ? "message" : event, data)));
    System.out.flush();
  }

  private static void launchdarkly(String url, String place) throws Exception {
    var builder =
        new com.launchdarkly.eventsource.EventSource.Builder(ConnectStrategy.http(URI.create(url)))
            .errorStrategy(ErrorStrategy.alwaysContinue());
    if (place != null) builder.lastEventId(place);
    try (var source = builder.build()) {
      for (MessageEvent event : source.messages()) say(event.getEventName(), event.getData());
    }
  }

  private static void okhttpSse(String url, String place) throws Exception {
    var request = new Request.Builder().url(url);
    if (place != null) request.header("Last-Event-ID", place);
    var client = new OkHttpClient.Builder().readTimeout(0, TimeUnit.SECONDS).build();
    var over = new CountDownLatch(1);
    var listener =
        new EventSourceListener() {
          @Override
          public void onEvent(EventSource source, String id, String type, String data) {
            say(type, data);
          }

          @Override
          public void onClosed(EventSource source) {
            over.countDown();
          }

          @Override
          public void onFailure(EventSource source, Throwable cause, Response response) {
            over.countDown();
          }
        };
    EventSources.createFactory(client).newEventSource(request.build(), listener);
    over.await();
    System.exit(0);
  }
}
