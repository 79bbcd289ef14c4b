"""What is read out of the bodies of Kubernetes' objects."""

import base64

import pytest

from stateful_route.kube.objects import SecretLacking, text_of_secret


def secret(**data):
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"metadata": {"name": "store", "namespace": "games"}, "data": encoded}


def test_the_text_of_a_secret_has_no_spaces_around_it():
    assert text_of_secret(secret(url=b" redis://valkey\n"), "url") == "redis://valkey"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (secret(uri=b"x", ca=b"y"), "Secret 'store' in namespace 'games' has no key 'url', its keys are: 'ca', 'uri'"),
        (secret(), "Secret 'store' in namespace 'games' has no key 'url', its keys are: none at all"),
        ({"metadata": secret()["metadata"]}, "has no key 'url'"),
        (secret(url=b" \n"), "key 'url' of Secret 'store' in namespace 'games' is empty"),
        (secret(url=b"\xff\xfe"), "key 'url' of Secret 'store' in namespace 'games' holds no text in UTF-8"),
    ],
)
def test_what_a_secret_lacks_is_said(body, says):
    with pytest.raises(SecretLacking) as lacking:
        text_of_secret(body, "url")
    assert says in str(lacking.value)
