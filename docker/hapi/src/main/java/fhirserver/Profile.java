package fhirserver;

import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings.ClientIdStrategyEnum;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings.IdStrategyEnum;
import java.util.Locale;

/** How strict the server is: as the official image comes, with ids of its own only, or as permissive as HAPI can be. */
enum Profile {
    DEFAULTS {
        @Override
        void apply(JpaStorageSettings storage) {
            storage.setResourceClientIdStrategy(ClientIdStrategyEnum.ALPHANUMERIC);
            storage.setResourceServerIdStrategy(IdStrategyEnum.SEQUENTIAL_NUMERIC);
            storage.setEnforceReferentialIntegrityOnWrite(true);
            storage.setEnforceReferentialIntegrityOnDelete(true);
            storage.setAllowExternalReferences(false);
            storage.setStoreMetaSourceInformation(
                    JpaStorageSettings.StoreMetaSourceInformationEnum.NONE);
        }
    },
    /** As it comes, except that it gives all ids itself. */
    ASSIGNED {
        @Override
        void apply(JpaStorageSettings storage) {
            DEFAULTS.apply(storage);
            storage.setResourceClientIdStrategy(ClientIdStrategyEnum.NOT_ALLOWED);
        }
    },
    LAX {
        @Override
        void apply(JpaStorageSettings storage) {
            storage.setResourceClientIdStrategy(ClientIdStrategyEnum.ANY);
            storage.setResourceServerIdStrategy(IdStrategyEnum.UUID); // ANY could otherwise collide
            storage.setEnforceReferentialIntegrityOnWrite(false);
            storage.setEnforceReferentialIntegrityOnDelete(false);
            storage.setAllowExternalReferences(true);
        }
    };

    abstract void apply(JpaStorageSettings storage);

    /** Large Binary bodies are kept apart from the resource. */
    boolean storesBinariesApart() {
        return this == LAX;
    }

    /** The one that {@code -Dfhir.profile} names. */
    static Profile chosen() {
        return valueOf(System.getProperty("fhir.profile", "defaults").toUpperCase(Locale.ROOT));
    }
}
