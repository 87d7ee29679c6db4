package fhirserver;

import ca.uhn.fhir.IHapiBootOrder;
import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.interceptor.api.IInterceptorService;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.binary.api.IBinaryStorageSvc;
import ca.uhn.fhir.jpa.binary.interceptor.BinaryStorageInterceptor;
import ca.uhn.fhir.jpa.binary.provider.BinaryAccessProvider;
import ca.uhn.fhir.jpa.binstore.DatabaseBinaryContentStorageSvcImpl;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.searchparam.submit.config.SearchParamSubmitterConfig;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import jakarta.persistence.EntityManagerFactory;
import java.util.Properties;
import java.util.Set;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;
import org.hl7.fhir.dstu2.model.Subscription.SubscriptionChannelType;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.context.event.ContextRefreshedEvent;
import org.springframework.context.event.EventListener;
import org.springframework.core.annotation.Order;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/** The beans that HAPI's own configuration classes leave to the application. */
@Configuration
@Import({
    Batch2JobsConfig.class,
    HapiJpaConfig.class,
    JpaBatch2Config.class,
    JpaR4Config.class,
    SearchParamSubmitterConfig.class,
    SubscriptionChannelConfig.class,
    SubscriptionProcessorConfig.class,
    SubscriptionSubmitterConfig.class,
    ThreadPoolFactoryConfig.class
})
public class ServerConfig {

    private static final Profile PROFILE = Profile.chosen();

    @Bean
    public DataSource dataSource() {
        BasicDataSource source = new BasicDataSource();
        source.setDriverClassName("org.h2.Driver");
        source.setUrl("jdbc:h2:mem:fhir");
        source.setUsername("sa");
        source.setMaxTotal(20);
        source.setMaxIdle(20);
        source.setMinIdle(1); // an H2 database in memory lives as long as its last connection
        return source;
    }

    @Bean
    public LocalContainerEntityManagerFactoryBean entityManagerFactory(
            ConfigurableListableBeanFactory beans, FhirContext fhir, JpaStorageSettings storage, DataSource source) {
        Properties properties = new Properties();
        properties.setProperty("hibernate.dialect", HapiFhirH2Dialect.class.getName());
        properties.setProperty("hibernate.hbm2ddl.auto", "create");
        properties.setProperty("hibernate.jdbc.batch_size", "20");
        properties.setProperty("hibernate.search.enabled", "false");
        LocalContainerEntityManagerFactoryBean factory =
                HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, storage);
        factory.setPersistenceUnitName("fhir");
        factory.setDataSource(source);
        factory.setJpaProperties(properties);
        return factory;
    }

    @Bean
    @Primary
    public JpaTransactionManager transactionManager(EntityManagerFactory factory) {
        return new JpaTransactionManager(factory);
    }

    /** What both profiles share is what the official image sets, too. */
    @Bean
    public JpaStorageSettings storageSettings() {
        JpaStorageSettings storage = new JpaStorageSettings();
        storage.setAllowContainsSearches(true);
        storage.setExpungeEnabled(true);
        storage.setFilterParameterEnabled(true);
        storage.setHibernateSearchIndexFullText(false);
        storage.setHibernateSearchIndexSearchParams(false);
        storage.setTreatReferencesAsLogical(Set.of(
                "http://terminology.hl7.org/*", "https://terminology.hl7.org/*",
                "http://snomed.info/*", "https://snomed.info/*",
                "http://unitsofmeasure.org/*", "https://unitsofmeasure.org/*",
                "http://loinc.org/*", "https://loinc.org/*"));
        storage.setEnableTaskPreExpandValueSets(false); // the image's job of the first minutes; no test needs it
        PROFILE.apply(storage);
        return storage;
    }

    @Bean
    public PartitionSettings partitionSettings() {
        return new PartitionSettings();
    }

    /** Off in the image until its user switches them on, with the poll that ../../compose.yaml sets. */
    @Bean
    public SubscriptionSettings subscriptionSettings() {
        SubscriptionSettings subscriptions = new SubscriptionSettings();
        subscriptions.addSupportedSubscriptionType(SubscriptionChannelType.RESTHOOK); // DSTU2's enum even for R4
        subscriptions.setSubscriptionIntervalInMs(100);
        return subscriptions;
    }

    @Bean
    public IEmailSender emailSender() {
        return details -> {};
    }

    @Bean
    public IBinaryStorageSvc binaryStorage() {
        return new DatabaseBinaryContentStorageSvcImpl();
    }

    @Bean
    public RestfulServer restfulServer(
            FhirContext fhir,
            ResourceProviderFactory resources,
            JpaSystemProvider<?, ?> system,
            IFhirSystemDao<?, ?> systemDao,
            JpaStorageSettings storage,
            ISearchParamRegistry parameters,
            IValidationSupport validation,
            DatabaseBackedPagingProvider paging,
            BinaryAccessProvider binaryAccess) {
        RestfulServer server = new RestfulServer(fhir);
        server.registerProviders(resources.createProviders());
        server.registerProviders(system, binaryAccess);
        server.setServerConformanceProvider(
                new JpaCapabilityStatementProvider(server, systemDao, storage, parameters, validation));
        paging.setDefaultPageSize(20);
        paging.setMaximumPageSize(200);
        server.setPagingProvider(paging);
        server.setDefaultResponseEncoding(EncodingEnum.JSON);
        server.setDefaultPrettyPrint(true);
        return server;
    }

    @Configuration
    static class BinaryStore {

        private final IInterceptorService interceptors;
        private final BinaryStorageInterceptor<?> store;

        BinaryStore(IInterceptorService interceptors, BinaryStorageInterceptor<?> store) {
            this.interceptors = interceptors;
            this.store = store;
        }

        @EventListener(ContextRefreshedEvent.class)
        @Order(IHapiBootOrder.REGISTER_INTERCEPTORS)
        public void register() {
            if (PROFILE.storesBinariesApart()) {
                interceptors.registerInterceptor(store);
            }
        }
    }
}
