from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Delivery"

    def ready(self) -> None:
        from devices.registrations import CHECK_WEB_SUBSCRIPTION
        from devices.services import WHEN_ERASED
        from notifications import services

        CHECK_WEB_SUBSCRIPTION.append(services.check_web_subscription)
        WHEN_ERASED.append(services.forget)
