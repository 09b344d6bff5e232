import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Hub, launch, pill, quit, says, until, visit } from './support.mjs';

before(launch);
after(quit);

const secret = 'a secret that only this test and its hub share';

function token(scope, seconds = 3_600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'operator', scope, exp: Math.floor(Date.now() / 1000) + seconds })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

async function signIn(page, value) {
  await page.getByLabel('Token').fill(value);
  await page.keyboard.press('Enter');
}

test('sign in, look, switch where one may, sign out', { timeout: 60_000 }, async () => {
  const hub = await Hub.start({ INTEGRATION_JWT_SECRET: secret });
  try {
    const { page, close } = await visit(hub);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    // The cookie holds who it stands for, not the token.
    await says(page.locator('#token-hint'), 'and not kept');
    await signIn(page, 'wrong');
    await says(page.getByRole('alert'), 'does not accept this token');
    await signIn(page, token('read'));
    await says(pill(page), 'Live');
    assert.match(await page.locator('.code pre').textContent(), /Authorization: Bearer \$TOKEN/);
    await page.reload();
    await says(pill(page), 'Live');
    await page.getByRole('link', { name: /Integration/ }).click();
    await says(page.locator('.hint'), 'Your token may look, but not switch');
    const chaining = page.getByRole('switch', { name: /Server chaining/ });
    assert.ok(await chaining.isDisabled());
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    assert.equal(await page.locator('.code').count(), 0);
    await signIn(page, token('read admin'));
    await chaining.click();
    await until('it is on', () => chaining.isChecked());
    await close();
  } finally {
    await hub.end();
  }
});

test('a session that ends asks to sign in again', { timeout: 60_000 }, async () => {
  const hub = await Hub.start({ INTEGRATION_JWT_SECRET: secret });
  try {
    const { page, close } = await visit(hub);
    await signIn(page, token('read', 3));
    await says(pill(page), 'Live');
    await page.getByText('Your session has ended').waitFor({ timeout: 30_000 });
    await signIn(page, token('read'));
    await says(pill(page), 'Live');
    await close();
  } finally {
    await hub.end();
  }
});
