"""kopf handlers, a few lines each; nothing else imports kopf."""
