// Makes the README's pictures from a real run: a hub with a fleet, workflows and events that the script plays.

import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Hub, launch, pill, quit, says, visit } from '../test/browser/support.mjs';

const images = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const PLAY_MS = 90_000;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const SERVERS = [
  ['lms', 'LMS', 'http', ['courses.list', 'submissions.fetch', 'grades.publish'], { env: 'prod', region: 'eu' }],
  ['sis', 'Student records', 'stdio', ['roster.fetch', 'grades.write'], { env: 'prod', region: 'eu' }],
  ['grading-1', 'Grading 1', 'http', ['essay.grade', 'quiz.grade'], { env: 'prod', region: 'eu' }],
  ['grading-2', 'Grading 2', 'http', ['essay.grade', 'quiz.grade'], { env: 'prod', region: 'us' }],
  ['plagiarism', 'Plagiarism check', 'sse', ['text.compare'], { env: 'prod', region: 'us' }],
  ['calendar', 'Calendar', 'websocket', ['events.list', 'events.create'], { env: 'prod', region: 'eu' }],
  ['messaging', 'Messaging', 'http', ['message.send'], { env: 'prod', region: 'us' }],
  ['library', 'Library', 'stdio', ['books.search', 'loans.list', 'loans.renew'], { env: 'prod', region: 'eu' }],
  ['analytics', 'Analytics', 'http', ['query.run', 'report.build'], { env: 'staging', region: 'us' }],
  ['identity', 'Identity', 'http', ['user.lookup', 'group.list'], { env: 'prod', region: 'eu' }],
  ['content', 'Content', 'sse', ['lesson.fetch', 'lesson.search'], { env: 'prod', region: 'us' }],
  ['tutor', 'Tutor', 'websocket', ['hint.give', 'answer.check', 'path.plan'], { env: 'staging', region: 'eu' }],
];

const STEPS = [
  { id: 'fetch-roster', server: 'sis', tool: 'roster.fetch' },
  { id: 'fetch-submissions', server: 'lms', tool: 'submissions.fetch' },
  { id: 'grade-essays', dependsOn: ['fetch-submissions'], retries: 2 },
  { id: 'grade-quizzes', dependsOn: ['fetch-submissions'] },
  { id: 'plagiarism-check', dependsOn: ['fetch-submissions'], required: false },
  { id: 'merge', name: 'Merge results', dependsOn: ['fetch-roster', 'grade-essays', 'grade-quizzes', 'plagiarism-check'] },
  { id: 'publish', server: 'lms', tool: 'grades.publish', dependsOn: ['merge'] },
  { id: 'notify', server: 'messaging', tool: 'message.send', dependsOn: ['merge'] },
];

const hub = await Hub.start({ INTEGRATION_HEARTBEAT_INTERVAL_MS: '1000' });
await launch();
await mkdir(images, { recursive: true });
const silent = new Set();
const beats = setInterval(() => {
  const entries = SERVERS.filter(([id]) => !silent.has(id)).map(([id]) => ({ id }));
  void hub.call('POST', '/heartbeats', entries).catch(() => {});
}, 500);
try {
  await play();
  for (const colorScheme of ['light', 'dark']) await picture(colorScheme, { colorScheme, viewport: { width: 1440, height: 900 } });
  await picture('phone', { colorScheme: 'light', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
} finally {
  clearInterval(beats);
  await quit();
  await hub.end();
}

async function play() {
  for (const [id, name, transport, tools, tags] of SERVERS) {
    // One is slow to be given up, so that it is seen ill.
    const heartbeatIntervalMs = id === 'analytics' ? 5_000 : 1_000;
    await hub.register(id, { name, transport, tags, heartbeatIntervalMs, version: '2.4.1', capabilities: { tools, resources: tools.slice(1).map((tool) => `${id}://${tool}`) } });
  }
  for (const name of ['Nightly import', 'Term rollover']) {
    const id = name.toLowerCase().replace(' ', '-');
    await hub.call('POST', '/workflows', { id, name, steps: [{ id: 'load' }, { id: 'check', dependsOn: ['load'] }, { id: 'commit', dependsOn: ['check'] }] });
    for (const step of ['load', 'check', 'commit']) await run(id, step, 'sis', 150);
  }
  await hub.call('POST', '/workflows', { id: 'roster-import', name: 'Roster import', steps: [{ id: 'load' }, { id: 'match', dependsOn: ['load'] }, { id: 'commit', dependsOn: ['match'] }] });
  await run('roster-import', 'load', 'sis', 300);
  await run('roster-import', 'match', 'identity', 400, 'two students share the number 20417');

  await Promise.all([chatter(), illness(), wait(PLAY_MS - 14_000).then(gradeSync)]);
}

/** Some servers fall ill and recover, one stays ill, one leaves. */
async function illness() {
  const report = (id, health, detail) => hub.heartbeat(id, { health, detail });
  // Better is believed at the second report, half an interval later.
  const recover = async (id) => {
    for (let count = 0; count < 3; count += 1) {
      await report(id, 'healthy');
      await wait(700);
    }
  };
  await wait(8_000);
  await report('grading-2', 'degraded', '14 essays wait in the queue');
  await wait(6_000);
  silent.add('identity');
  await wait(6_000);
  await report('grading-2', 'unhealthy', 'The essay model does not answer');
  silent.delete('identity');
  await wait(8_000);
  await recover('grading-2');
  silent.add('calendar');
  await wait(12_000);
  await report('content', 'degraded', 'Cache hit rate fell to 41 %');
  await wait(9_000);
  await recover('content');
  silent.add('tutor');
  await wait(3_000);
  silent.delete('tutor');
  await report('library', 'degraded', 'Replica lag is 42 s');
  await wait(PLAY_MS - 79_000);
  silent.add('analytics');
  await wait(22_000);
}

async function gradeSync() {
  const id = 'grade-sync-0412';
  await hub.call('POST', '/workflows', { id, name: 'Grade sync', description: 'Grades of all courses, from the LMS to the student records', steps: STEPS });
  await Promise.all([run(id, 'fetch-roster', 'sis', 3_400), run(id, 'fetch-submissions', 'lms', 2_300)]);
  await Promise.all([
    run(id, 'grade-essays', 'grading-1', 3_600, 'the essay model timed out on batch 7 of 12').then(() => run(id, 'grade-essays', 'grading-2', 3_800)),
    run(id, 'grade-quizzes', 'grading-1', 2_700),
    claim(id, 'plagiarism-check', 'plagiarism'),
  ]);
}

async function claim(workflow, step, serverId) {
  return hub.step(workflow, step, { status: 'running', serverId });
}

async function run(workflow, step, serverId, ms, error) {
  const { attempt } = await claim(workflow, step, serverId);
  await wait(ms);
  await hub.step(workflow, step, { status: error ? 'failed' : 'completed', serverId, attempt, error, result: error ? undefined : { rows: 28 } });
}

async function chatter() {
  const end = Date.now() + PLAY_MS;
  for (let count = 0; Date.now() < end; count += 1) {
    // A slow wave with some ripple, the same in every run.
    const burst = Math.round(2 + 1.5 * Math.sin(count / 40) + Math.sin(count * 1.7));
    const [serverId] = SERVERS[(count * 5) % SERVERS.length];
    const grades = Array.from({ length: burst }, (_, index) => ({ type: 'grades.synced', serverId, data: { course: `algebra-${1 + ((count + index) % 6)}`, grades: 12 + ((count * 7 + index) % 20) } }));
    if (count % 4 === 0) grades.push({ type: 'roster.changed', serverId: 'sis', data: { added: count % 5, removed: count % 3 } });
    if (count % 9 === 0) grades.push({ type: 'custom_audit', serverId: 'lms', data: { actor: 'j.doe', action: 'override' } });
    if (grades.length > 0) await hub.call('POST', '/events', grades);
    await wait(400);
  }
}

async function picture(name, options) {
  const { page, close } = await visit(hub, '/', options);
  const shoot = async (file, path, ready) => {
    await page.goto(`${hub.url}/${path}`);
    await says(pill(page), 'Live');
    await ready();
    await wait(400);
    await page.screenshot({ path: `${images}${file}-${name}.png` });
  };
  await shoot('fleet', '#/servers', async () => {
    await says(page.locator('[data-row]'), 'LMS');
    await page.getByRole('combobox', { name: /Time span/ }).selectOption('Last 5 min');
  });
  await shoot('workflow', '#/workflows/grade-sync-0412', () => page.locator('.bar').first().waitFor());
  await shoot('feed', '#/events', () => page.locator('.feed-row').first().waitFor());
  await shoot('integration', '#/integration', () => page.locator('.overall').waitFor());
  await close();
}
