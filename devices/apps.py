from django.apps import AppConfig


class DevicesConfig(AppConfig):
    name = "devices"
    verbose_name = "Audience"

    def ready(self) -> None:
        from devices.services import create_standard_categories
        from tenants.services import WHEN_CREATED

        WHEN_CREATED.append(create_standard_categories)
