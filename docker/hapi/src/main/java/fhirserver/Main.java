package fhirserver;

import ca.uhn.fhir.rest.server.RestfulServer;
import java.io.IOException;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.http.UriCompliance;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.web.context.WebApplicationContext;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;

/** Serves FHIR R4 at {@code /fhir} and says on standard output when, and on which port. */
public final class Main {

    private Main() {}

    public static void main(String[] args) throws Exception {
        long started = System.nanoTime();
        Server jetty = new Server();
        ServerConnector connector = new ServerConnector(jetty);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.getInteger("fhir.port", 18100)); // 0: any free one
        connector.getConnectionFactory(HttpConnectionFactory.class)
                .getHttpConfiguration()
                .setUriCompliance(UriCompliance.LEGACY); // a token search has an unescaped |
        jetty.addConnector(connector);

        ServletContextHandler web = new ServletContextHandler();
        web.setContextPath("/");
        jetty.setHandler(web);

        AnnotationConfigWebApplicationContext beans = new AnnotationConfigWebApplicationContext();
        beans.setServletContext(web.getServletContext());
        beans.register(ServerConfig.class);
        beans.refresh();
        web.getServletContext().setAttribute(WebApplicationContext.ROOT_WEB_APPLICATION_CONTEXT_ATTRIBUTE, beans);
        web.addServlet(new ServletHolder("fhir", beans.getBean(RestfulServer.class)), "/fhir/*");

        jetty.start();
        System.out.printf(
                "fhir ready on port %d after %d ms%n",
                connector.getLocalPort(), (System.nanoTime() - started) / 1_000_000);
        if (Boolean.getBoolean("fhir.tethered")) {
            waitForEndOfInput();
            System.exit(0);
        }
        jetty.join();
    }
    /** Whoever started the server holds its standard input, so it cannot outlive them, however they end. */
    private static void waitForEndOfInput() throws IOException {
        while (System.in.read() >= 0) {
            continue;
        }
    }
}
